//! Who signs the checkpoints where no store keeps a key? A gate that runs elsewhere has one of its own, in a file of its
//! own; its public half is told to the desk.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
    sync::Arc,
};
use trigate_core::jose::{Algorithm, SigningKey};

const NAME: &str = "gate_checkpoint";

/// The key of this file (PKCS#8), made on the first start, readable by its owner alone.
///
/// # Errors
/// When the file can be neither read nor made.
pub fn own_key(path: &Path) -> io::Result<Arc<SigningKey>> {
    if !path.exists() {
        let made = SigningKey::generate(Algorithm::EdDSA, NAME).and_then(|key| key.to_pkcs8());
        write(path, &made.map_err(io::Error::other)?)?;
    }
    let der = zeroize::Zeroizing::new(fs::read(path)?);
    SigningKey::from_pkcs8(Algorithm::EdDSA, NAME, &der).map(Arc::new).map_err(io::Error::other)
}

/// Whole or not at all.
fn write(path: &Path, der: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside);
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    file.write_all(der)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.key");
        let first = own_key(&path).unwrap().public_jwk();
        assert_eq!(own_key(&path).unwrap().public_jwk(), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::write(&path, "garbage").unwrap();
        assert!(own_key(&path).is_err());
    }
}
