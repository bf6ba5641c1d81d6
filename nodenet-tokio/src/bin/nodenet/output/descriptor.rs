//! Descriptors of standard output and standard error, written to without a buffer.

use std::io;

use super::writer::Sink;

#[cfg(unix)]
pub(super) use unix::Descriptor;

#[cfg(not(unix))]
pub(super) use other::Descriptor;

#[cfg(unix)]
mod unix {
    use std::fs::File;
    use std::io::{Seek, SeekFrom, Write};
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    use super::{Sink, io};

    /// A separate descriptor: the lock of `std::io::stdout` would be held as long as a write
    /// blocks.
    pub(in super::super) struct Descriptor {
        file: File,
        /// The file behind it, by device and inode.
        place: (u64, u64),
        is_regular_file: bool,
    }

    impl Descriptor {
        pub(in super::super) fn stdout() -> io::Result<Self> {
            Self::new(&io::stdout())
        }

        pub(in super::super) fn stderr() -> io::Result<Self> {
            Self::new(&io::stderr())
        }

        fn new(stream: &impl AsFd) -> io::Result<Self> {
            Self::from_file(File::from(stream.as_fd().try_clone_to_owned()?))
        }

        fn from_file(file: File) -> io::Result<Self> {
            let metadata = file.metadata()?;
            let place = (metadata.dev(), metadata.ino());
            Ok(Self { file, place, is_regular_file: metadata.is_file() })
        }

        /// Whether both lead to the same file, pipe, socket or terminal.
        pub(in super::super) fn is_same_place(&self, other: &Self) -> bool {
            self.place == other.place
        }
    }

    impl Sink for Descriptor {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.file.write(bytes)
        }

        fn was_truncated(&mut self) -> bool {
            if !self.is_regular_file {
                return false;
            }
            let (Ok(at), Ok(metadata)) = (self.file.stream_position(), self.file.metadata()) else {
                return false;
            };
            // A write here would leave a hole before it, unless the file is open for appending.
            at > metadata.len() && self.file.seek(SeekFrom::End(0)).is_ok()
        }
    }

    #[cfg(test)]
    mod tests {
        use std::fs::{self, OpenOptions};
        use std::io::pipe;

        use super::{Descriptor, Sink};

        #[test]
        fn a_truncated_file_goes_on_at_its_end() {
            let path = std::env::temp_dir().join(format!("nodenet-{}.log", std::process::id()));
            for append in [true, false] {
                let mut options = OpenOptions::new();
                let file = options.create(true).write(true).append(append).open(&path);
                let mut log = Descriptor::from_file(file.expect("it can be made")).expect("a file");
                log.write(b"some line\n").expect("there is room");
                assert!(!log.was_truncated());
                fs::write(&path, b"new\n").expect("it is ours");
                assert!(log.was_truncated());
                assert!(!log.was_truncated(), "reported once");
                log.write(b"line\n").expect("there is room");
                assert_eq!(fs::read(&path).expect("it is there"), b"new\nline\n");
                fs::remove_file(&path).expect("it is ours");
            }
        }

        #[test]
        fn one_pipe_is_the_same_place_and_two_are_not() {
            let descriptor = || {
                let (_, writer) = pipe().expect("descriptors are left");
                let again = writer.try_clone().expect("descriptors are left");
                [writer, again].map(|writer| {
                    let file = std::os::fd::OwnedFd::from(writer).into();
                    Descriptor::from_file(file).expect("it has metadata")
                })
            };
            let ([one, again], [other, _]) = (descriptor(), descriptor());
            assert!(one.is_same_place(&again));
            assert!(!one.is_same_place(&other));
        }
    }
}

#[cfg(not(unix))]
mod other {
    use std::io::Write;

    use super::{Sink, io};

    /// The stream of the standard library, which converts text for a console.
    pub(in super::super) struct Descriptor(Box<dyn Write + Send>);

    impl Descriptor {
        pub(in super::super) fn stdout() -> io::Result<Self> {
            Ok(Self(Box::new(io::stdout())))
        }

        pub(in super::super) fn stderr() -> io::Result<Self> {
            Ok(Self(Box::new(io::stderr())))
        }

        /// This can not be found out here.
        pub(in super::super) fn is_same_place(&self, _other: &Self) -> bool {
            false
        }
    }

    impl Sink for Descriptor {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = self.0.write(bytes)?;
            // If this fails, the bytes stay in the buffer and are written first next time.
            let _ = self.0.flush();
            Ok(len)
        }

        fn was_truncated(&mut self) -> bool {
            false
        }
    }
}
