//! Checksums in hex.

use md5::Md5;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::{self, Read};

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// MD5 and SHA-256 of all bytes of `source`, in hex.
pub fn digests(mut source: impl Read) -> io::Result<(String, String)> {
    let (mut md5, mut sha256, mut block) = (Md5::new(), Sha256::new(), vec![0; 1 << 16]);
    loop {
        match source.read(&mut block)? {
            0 => return Ok((hex(&md5.finalize()), hex(&sha256.finalize()))),
            n => {
                md5.update(&block[..n]);
                sha256.update(&block[..n]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standards() {
        let (md5, sha) = digests(&b"abc"[..]).unwrap();
        assert_eq!(md5, "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(sha, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(sha256(b"abc"), sha);
    }
}
