//! How a folder is made.

use super::show::shown;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;

/// Makes a folder and those above it; one that is there stays.
///
/// # Errors
/// One line that names the folder, if something else has its name or it cannot be made.
pub fn create(path: &Path) -> Result<()> {
    let name = shown(path);
    let taken = fs::symlink_metadata(path).is_ok() && !path.is_dir();
    ensure!(!taken, "{name}: is no folder; choose another name");
    fs::create_dir_all(path).with_context(|| {
        format!("{name}: the folder cannot be created; check that the one above it is a writable folder")
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_has_the_name_already_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        create(&at("a/b")).unwrap();
        create(&at("a/b")).unwrap();
        fs::write(at("file"), "").unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("absent", at("dangling")).unwrap();
        symlink("a", at("link")).unwrap();
        create(&at("link")).unwrap();
        for name in [at("file"), at("loop"), at("dangling"), "/dev/null".into()] {
            let text = create(&name).unwrap_err().to_string();
            assert!(text.contains("is no folder") && text.contains(&*name.to_string_lossy()), "{text}");
        }
        let text = create(&at("file/inner")).unwrap_err().to_string();
        assert!(text.contains("the one above it"), "{text}");
    }
}
