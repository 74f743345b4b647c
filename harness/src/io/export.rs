//! Writes arrays as they are computed: one as `.npy`, several as `.npz`, of any length in constant memory.
//!
//! Entries of an `.npz` are stored, not compressed, and dated 1980-01-01: the same arrays give the same bytes. Beyond 4 GiB
//! they are zip64.

use super::atomic::AtomicFile;
use anyhow::{Context, Result};
use ndarray_npy::WritableElement;
use ndarray_npy::npy::header::{Header, Layout};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// A file of arrays being written. It appears when it is finished, and is removed if it is dropped before.
pub struct Export {
    path: PathBuf,
    to: Container,
}

enum Container {
    Npy(AtomicFile),
    Npz(Box<ZipWriter<AtomicFile>>),
}

/// An array of the file being written.
pub struct Array<'a, A> {
    export: &'a mut Export,
    /// Values that are still to be written.
    left: usize,
    kind: PhantomData<A>,
}

impl Export {
    /// A file for one array.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn npy(path: &Path) -> Result<Export> {
        Ok(Export { path: path.to_owned(), to: Container::Npy(AtomicFile::open(path)?) })
    }

    /// A file for named arrays.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn npz(path: &Path) -> Result<Export> {
        let zip = Box::new(ZipWriter::new(AtomicFile::open(path)?));
        Ok(Export { path: path.to_owned(), to: Container::Npz(zip) })
    }

    /// Begins the next array, in C order; the name is used in an `.npz` only.
    ///
    /// # Errors
    /// If it cannot be written.
    ///
    /// # Panics
    /// If the number of values overflows a `usize`.
    pub fn array<A: WritableElement>(&mut self, name: &str, shape: &[usize]) -> Result<Array<'_, A>> {
        let product = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        let left = product.expect("a shape whose values can be counted");
        let at = || AtomicFile::unfinished(&self.path);
        let (type_descriptor, shape) = (A::type_descriptor(), shape.to_vec());
        let header =
            Header { type_descriptor, layout: Layout::Standard, shape }.to_bytes().with_context(at)?;
        if let Container::Npz(zip) = &mut self.to {
            // zip64 only for entries that need it: some readers do not support it.
            let bytes =
                (left as u64).saturating_mul(size_of::<A>() as u64).saturating_add(header.len() as u64);
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .last_modified_time(DateTime::default())
                .large_file(bytes > u64::from(u32::MAX));
            zip.start_file(format!("{name}.npy"), options).with_context(at)?;
        }
        self.to.write_all(&header).with_context(|| AtomicFile::unfinished(&self.path))?;
        Ok(Array { export: self, left, kind: PhantomData })
    }

    /// Completes the file; it appears under its name.
    ///
    /// # Errors
    /// If the disk is full.
    pub fn finish(self) -> Result<()> {
        let file = match self.to {
            Container::Npy(file) => file,
            Container::Npz(zip) => zip.finish().with_context(|| AtomicFile::unfinished(&self.path))?,
        };
        file.commit()
    }
}

impl<A: WritableElement> Array<'_, A> {
    /// Writes the next values.
    ///
    /// # Errors
    /// If they cannot be written.
    ///
    /// # Panics
    /// If they are more than the shape holds.
    pub fn push(&mut self, values: &[A]) -> Result<()> {
        let left = self.left.checked_sub(values.len());
        self.left = left.expect("no more values than the shape holds");
        let Export { path, to } = &mut *self.export;
        A::write_slice(values, to).with_context(|| AtomicFile::unfinished(path))
    }

    /// Ends the array.
    ///
    /// # Panics
    /// If values are missing.
    pub fn end(self) {
        assert_eq!(self.left, 0, "values that the shape holds and that were not written");
    }
}

impl Write for Container {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Container::Npy(file) => file.write(bytes),
            Container::Npz(zip) => zip.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Container::Npy(file) => file.flush(),
            Container::Npz(zip) => zip.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Ix1, Ix3, OwnedRepr};
    use ndarray_npy::NpzReader;
    use std::fs;
    use std::io::Cursor;

    #[test]
    fn the_same_arrays_give_the_same_npz_however_they_come() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, at_once: usize| {
            let path = dir.path().join(name);
            let mut npz = Export::npz(&path).unwrap();
            let mut x = npz.array::<f32>("x_batch", &[2, 1, 2]).unwrap();
            [1.0, 2.0, 3.0, 4.0].chunks(at_once).for_each(|part| x.push(part).unwrap());
            x.end();
            let mut y = npz.array::<i64>("y_batch", &[2]).unwrap();
            [7, 8].chunks(at_once).for_each(|part| y.push(part).unwrap());
            y.end();
            npz.finish().unwrap();
            fs::read(path).unwrap()
        };
        let bytes = write("a.npz", 4);
        assert_eq!(bytes, write("b.npz", 1));
        assert!(bytes.starts_with(b"PK\x03\x04"));
        assert_eq!(bytes[10..14], [0, 0, 0x21, 0], "dated 1980-01-01, not now");

        let mut npz = NpzReader::new(Cursor::new(bytes)).unwrap();
        assert_eq!(npz.names().unwrap(), ["x_batch", "y_batch"]);
        let x = npz.by_name::<OwnedRepr<f32>, Ix3>("x_batch").unwrap();
        assert_eq!((x.dim(), x.as_slice().unwrap()), ((2, 1, 2), &[1.0, 2.0, 3.0, 4.0][..]));
        assert_eq!(npz.by_name::<OwnedRepr<i64>, Ix1>("y_batch").unwrap().as_slice().unwrap(), [7, 8]);
    }

    #[test]
    #[ignore = "writes 4 GiB; cargo test --release -p harness -- --ignored beyond"]
    fn an_npz_beyond_4_gib_is_read_back() {
        const MANY: usize = (1 << 30) + 1000;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        let mut npz = Export::npz(&path).unwrap();
        let mut x = npz.array::<f32>("x_batch", &[MANY]).unwrap();
        let part = vec![0.5; 1 << 20];
        (0..MANY).step_by(part.len()).for_each(|i| x.push(&part[..part.len().min(MANY - i)]).unwrap());
        x.end();
        let mut y = npz.array::<i64>("y_batch", &[2]).unwrap();
        y.push(&[7, 8]).unwrap();
        y.end();
        npz.finish().unwrap();
        let mut zip = zip::ZipArchive::new(fs::File::open(&path).unwrap()).unwrap();
        assert_eq!(zip.by_name("x_batch.npy").unwrap().size(), 4 * MANY as u64 + 128);
        let mut npz = NpzReader::new(fs::File::open(&path).unwrap()).unwrap();
        assert_eq!(npz.by_name::<OwnedRepr<i64>, Ix1>("y_batch").unwrap().as_slice().unwrap(), [7, 8]);
    }

    #[test]
    fn a_dropped_export_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for open in [Export::npy, Export::npz] {
            fs::write(&path, "old").unwrap();
            let mut export = open(&path).unwrap();
            export.array::<f32>("a_batch", &[1000]).unwrap().push(&[1.0; 999]).unwrap();
            drop(export);
            assert_eq!(fs::read(&path).unwrap(), b"old");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    #[should_panic(expected = "values that the shape holds")]
    fn an_incomplete_array_panics() {
        let dir = tempfile::tempdir().unwrap();
        let mut npy = Export::npy(&dir.path().join("a")).unwrap();
        npy.array::<f32>("a", &[2, 2]).unwrap().end();
    }
}
