use std::io;
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::frame::response::RegionLength;

use super::File;

/// A stretch of a file that goes out as it is: to a socket by `sendfile`, or read into memory.
///
/// It keeps its file open, so the bytes can still be read after retention has removed the file.
#[derive(Clone, Debug)]
pub struct FileRegion {
    /// The file.
    pub file: Arc<dyn File>,
    /// Where the region begins.
    pub position: u64,
    /// Its bytes.
    pub length: u64,
}

impl RegionLength for FileRegion {
    fn region_length(&self) -> u64 {
        self.length
    }
}

impl FileRegion {
    /// Reads the region; the file having become shorter is an error.
    pub fn read(&self) -> io::Result<Bytes> {
        let length = usize::try_from(self.length).map_err(io::Error::other)?;
        let mut buffer = vec![0; length];
        let read = self.file.read_at(&mut buffer, self.position)?;
        if read < length {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!(
                    "file region at {} has {read} of {length} bytes",
                    self.position
                ),
            ));
        }
        Ok(Bytes::from(buffer))
    }
}
