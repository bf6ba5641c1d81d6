//! Role of a conn, by its application protocol (RFC 7301).

use quinn_proto::Connection;
use quinn_proto::crypto::rustls::HandshakeData;

use crate::quic::endpoint::tls::ALPN_OVERLAY;
use crate::quic::media;
use crate::transport::Role;

/// The role of a conn after its handshake; nothing if its protocol is unknown.
pub(super) fn of(quic: &Connection) -> Option<Role> {
    let data = quic.crypto_session().handshake_data()?.downcast::<HandshakeData>().ok()?;
    of_protocol(data.protocol.as_deref()?)
}

fn of_protocol(protocol: &[u8]) -> Option<Role> {
    [(ALPN_OVERLAY, Role::Edge), (media::ALPN, Role::Media)]
        .into_iter()
        .find_map(|(known, role)| (known == protocol).then_some(role))
}

#[cfg(test)]
mod tests {
    use super::of_protocol;
    use crate::transport::Role;

    #[test]
    fn two_application_protocols_have_a_role() {
        assert_eq!(of_protocol(b"nodenet/1"), Some(Role::Edge));
        assert_eq!(of_protocol(b"nodenet-media/1"), Some(Role::Media));
        for other in [&b""[..], b"nodenet", b"nodenet/2", b"h3"] {
            assert_eq!(of_protocol(other), None);
        }
    }
}
