//! The choice of `--stage` or `VENDOMINI_STAGE`.

use crate::failure::Failure;
use base::path_variable;
use std::ffi::OsString;
use std::path::PathBuf;

/// The environment variable that `--stage` overrides. Scripts of Slurm set it.
const VARIABLE: &str = "VENDOMINI_STAGE";

/// Whether and where models are staged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StageChoice {
    #[default]
    Off,
    /// In `$SLURM_TMPDIR`, else in `$TMPDIR`, if the model is on a network file system and it pays.
    Auto,
    /// In this folder, from any file system but its own.
    Folder {
        path: PathBuf,
        /// Whether it was typed. The variable is one of many nodes, of which some may lack the
        /// folder.
        must_exist: bool,
    },
}

impl StageChoice {
    /// The choice as typed, else that of the environment.
    ///
    /// # Errors
    /// `Usage` for an empty text.
    pub fn of(typed: Option<&str>) -> Result<Self, Failure> {
        StageChoice::from_variables(typed, &|name| std::env::var_os(name))
    }

    fn from_variables(
        typed: Option<&str>,
        variables: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Failure> {
        let folder = match typed {
            Some(typed) => PathBuf::from(typed),
            None => match path_variable(VARIABLE, variables) {
                Some(folder) => folder,
                None => return Ok(StageChoice::Off),
            },
        };
        match folder.to_str() {
            Some("") => {
                Err(Failure::usage("--stage: expected auto, off or a folder, found nothing"))
            }
            Some("off") => Ok(StageChoice::Off),
            Some("auto") => Ok(StageChoice::Auto),
            _ => Ok(StageChoice::Folder { path: folder, must_exist: typed.is_some() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_overrides_the_variable_whose_folder_may_name_another_variable() {
        let none = |_: &str| None;
        let set = |name: &str| match name {
            VARIABLE => Some(OsString::from("$SLURM_TMPDIR/models")),
            "SLURM_TMPDIR" => Some(OsString::from("/local/job7")),
            _ => None,
        };
        let of = |typed, variables: &dyn Fn(&str) -> Option<OsString>| {
            StageChoice::from_variables(typed, variables)
        };
        let folder = |path: &str, must_exist| StageChoice::Folder { path: path.into(), must_exist };
        assert_eq!(of(None, &none), Ok(StageChoice::Off));
        assert_eq!(of(None, &set), Ok(folder("/local/job7/models", false)));
        assert_eq!(of(Some("off"), &set), Ok(StageChoice::Off));
        assert_eq!(of(Some("auto"), &none), Ok(StageChoice::Auto));
        assert_eq!(of(Some("./auto"), &none), Ok(folder("./auto", true)));
        assert!(of(Some(""), &none).is_err());
    }
}
