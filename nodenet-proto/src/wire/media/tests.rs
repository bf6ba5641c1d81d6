//! Known answers of media frames, made with another implementation of the protocol.

use hex_literal::hex;

use super::*;
use crate::env::Seed;
use crate::fuzzing::keep_seed;

fn frame(channel: u8, payload: &[u8]) -> MediaFrame {
    let channel = Channel::new(channel).expect("an application's channel");
    MediaFrame::for_datagram(channel, Bytes::copy_from_slice(payload)).expect("short enough")
}

fn known() -> Vec<(Vec<u8>, MediaFrame)> {
    vec![
        (hex!("10").to_vec(), frame(16, b"")),
        (hex!("10 6f707573").to_vec(), frame(16, b"opus")),
        (hex!("11 00").to_vec(), frame(17, &[0])),
        (hex!("ff ff00").to_vec(), frame(255, &[0xff, 0])),
        ([vec![16], vec![0xab; 1200]].concat(), frame(16, &[0xab; 1200])),
    ]
}

#[test]
fn known_answers_and_round_trip() {
    for (index, (bytes, value)) in known().into_iter().enumerate() {
        keep_seed("media", &index.to_string(), &bytes);
        assert_eq!(value.to_bytes(), bytes);
        assert_eq!(value.encoded_len(), bytes.len());
        assert_eq!(MediaFrame::from_datagram(bytes.clone().into()).as_ref(), Ok(&value));
        assert_eq!(MediaFrame::from_message(bytes.into()), Ok(value));
    }
}

#[test]
fn the_gate_of_a_datagram() {
    let gate = |content: &[u8]| MediaFrame::from_datagram(Bytes::copy_from_slice(content));
    assert_eq!(gate(&[]), Err(MediaError::Empty));
    assert_eq!(gate(&KEEP_ALIVE_DATAGRAM), Err(MediaError::ReservedChannel(0)));
    assert_eq!(gate(&hex!("0f01")), Err(MediaError::ReservedChannel(15)));
    assert_eq!(gate(&hex!("10")), Ok(frame(16, &[])));
    assert_eq!(gate(&hex!("1001")), Ok(frame(16, &[1])));
    assert_eq!(gate(&hex!("ff01")), Ok(frame(255, &[1])));
    let mut content = vec![1; 1202];
    assert_eq!(gate(&content), Err(MediaError::ReservedChannel(1)), "the channel is tested first");
    content[0] = 16;
    assert_eq!(gate(&content), Err(MediaError::TooLarge { len: 1201, max: 1200 }));
    assert_eq!(gate(&content[..1201]), Ok(frame(16, &[1; 1200])));
}

#[test]
fn the_gate_of_a_message() {
    let gate = |content: Vec<u8>| {
        MediaFrame::from_message(content.into())
            .map(|frame| (frame.channel().number(), frame.payload().len()))
    };
    assert_eq!(gate(vec![]), Err(MediaError::Empty));
    assert_eq!(gate(vec![16]), Ok((16, 0)));
    assert_eq!(gate(vec![20, 1, 2, 3]), Ok((20, 3)));
    assert_eq!(gate(vec![3, 1]), Err(MediaError::ReservedChannel(3)));
    assert_eq!(gate(vec![16; 65_537]), Ok((16, 65_536)));
    let too_large = Err(MediaError::TooLarge { len: 65_537, max: 65_536 });
    assert_eq!(gate(vec![16; 65_538]), too_large);
    assert_eq!(gate(vec![3; 65_538]), too_large, "the size is tested first");
}

#[test]
fn frames_that_do_not_fit_are_refused_when_made() {
    let too_large = |len, max| Err(MediaError::TooLarge { len, max });
    let payload = |len| Bytes::from(vec![0; len]);
    assert_eq!(MediaFrame::for_datagram(Channel::FIRST, payload(1_201)), too_large(1_201, 1_200));
    assert_eq!(MediaFrame::for_message(Channel::FIRST, payload(65_537)), too_large(65_537, 65_536));
    assert!(MediaFrame::for_message(Channel::FIRST, payload(65_536)).is_ok());
    assert_eq!(Channel::new(15), None);
    assert_eq!(Channel::new(16), Some(Channel::FIRST));
}

#[test]
fn the_payload_lies_where_the_content_lay() {
    let content = Bytes::from(hex!("10 01020304").to_vec());
    let parsed = MediaFrame::from_datagram(content.clone()).expect("well formed");
    assert_eq!(parsed.payload().as_ptr(), content[1..].as_ptr());
    let (channel, payload) = parsed.into_parts();
    assert_eq!((channel.number(), payload), (16, content.slice(1..)));
}

/// Every byte string is one frame or one error, and a frame gives the bytes back.
#[test]
fn any_bytes_are_a_frame_or_an_error() {
    let mut rng = Seed::from_u64(10_000).stream("perturbation");
    for _ in 0..10_000 {
        let mut content = vec![0; rng.below(1_300) as usize];
        rng.fill(&mut content);
        let parsed = MediaFrame::from_datagram(Bytes::copy_from_slice(&content));
        match parsed {
            Ok(frame) => assert_eq!(frame.to_bytes(), content),
            Err(MediaError::Empty) => assert!(content.is_empty()),
            Err(MediaError::ReservedChannel(number)) => {
                assert!(number == content[0] && number < 16)
            }
            Err(MediaError::TooLarge { len, .. }) => {
                assert!(len + 1 == content.len() && len > 1_200)
            }
        }
    }
}
