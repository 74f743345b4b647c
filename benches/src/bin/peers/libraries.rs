//! Libraries in C as further peers: `--blas NAME=FILE`.

use crate::measure::Candidate;
use crate::operands::Operands;

/// The libraries that the command line names.
#[derive(Debug, Default)]
pub struct Libraries {
    #[cfg(feature = "blas")]
    all: Vec<(String, kernels::peers::Cblas)>,
}

#[cfg(feature = "blas")]
impl Libraries {
    /// Loads each `NAME=FILE`.
    ///
    /// # Errors
    /// If one is not of this form, or cannot be loaded.
    pub fn open(named: &[String]) -> anyhow::Result<Self> {
        let open = |text: &String| {
            let Some((name, file)) = text.split_once('=') else {
                anyhow::bail!("--blas {text}: write NAME=FILE, such as OpenBLAS=libopenblas.so.0");
            };
            Ok((name.to_owned(), kernels::peers::Cblas::open(name, file)?))
        };
        Ok(Libraries { all: named.iter().map(open).collect::<anyhow::Result<_>>()? })
    }

    /// The names of the candidates.
    pub fn names(&self) -> Vec<String> {
        let smallest = Operands::new(crate::operands::Form::Nn, [1, 1, 1]);
        self.candidates(&smallest).into_iter().map(|(name, _)| name).collect()
    }

    /// Each library's product of these operands, and with the right one prepacked where the library can; their results
    /// are checked.
    pub fn candidates<'a>(&'a self, operands: &'a Operands) -> Vec<(String, Candidate<'a>)> {
        let mut found: Vec<(String, Candidate<'a>)> = Vec::new();
        let Operands { m, n, .. } = *operands;
        for (name, library) in &self.all {
            let mut c = vec![f32::NAN; m * n];
            library.multiply(operands.block(&mut c));
            operands.check_theirs(name, &c);
            let work = move || library.multiply(operands.block(&mut c));
            found.push((name.clone(), crate::measure::theirs(work)));
            if let Some(packed) = library.prepack(operands.right(), m) {
                let mut c = vec![f32::NAN; m * n];
                packed.multiply(operands.left(), &mut c);
                let name = format!("{name} prepacked");
                operands.check_theirs(&name, &c);
                let work = move || packed.multiply(operands.left(), &mut c);
                found.push((name, crate::measure::theirs(work)));
            }
        }
        found
    }
}

#[cfg(not(feature = "blas"))]
impl Libraries {
    /// # Errors
    /// If there are any: this build has no interface to them.
    pub fn open(named: &[String]) -> anyhow::Result<Self> {
        anyhow::ensure!(named.is_empty(), "--blas: build with `--features blas`");
        Ok(Libraries {})
    }

    /// None.
    pub fn names(&self) -> Vec<String> {
        Vec::new()
    }

    /// None.
    pub fn candidates<'a>(&self, _: &'a Operands) -> Vec<(String, Candidate<'a>)> {
        Vec::new()
    }
}
