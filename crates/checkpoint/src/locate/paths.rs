//! The folders that are searched for models.
use base::{home_folder, path_variable};
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Models in it are found, but nothing is fetched into it.
pub(super) const WORKING_FOLDER: &str = ".";

/// The folders that are searched for models. Tests can pass folders of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchPaths {
    /// Folders that contain `org--name` folders and `.gguf` files. `vendomini fetch` writes to the
    /// first, which is `models` in this program's cache.
    pub model_folders: Vec<PathBuf>,
    /// Hub caches: folders that contain `models--org--name` folders.
    pub hub_caches: Vec<PathBuf>,
}

impl SearchPaths {
    /// The folders given by the environment variables `VENDOMINI_CACHE`, `HF_HUB_CACHE` and
    /// `HF_HOME`, or their defaults in the home folder, and the working folder. `~` and `$NAME` in
    /// a variable are expanded, as by huggingface_hub.
    pub fn from_env() -> Self {
        SearchPaths::from_variables(&|key| env::var_os(key))
    }

    /// As [`SearchPaths::from_env`], but with the variables of another environment, such as that of
    /// a job to be submitted.
    pub fn from_variables(variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let folder = |key: &str| path_variable(key, variable);
        let user_cache = folder("XDG_CACHE_HOME")
            .or_else(|| home_folder(variable).map(|home| home.join(".cache")));
        let below = |name: &str| user_cache.as_ref().map(|cache| cache.join(name));
        let hf_home = folder("HF_HOME").or(below("huggingface"));
        let mut search = SearchPaths::default();
        let own = folder("VENDOMINI_CACHE").or(below("vendomini"));
        search.cache(own.as_ref().map(|own| own.join("models")));
        search.cache(own);
        for hub in [
            folder("HF_HUB_CACHE"),
            folder("HUGGINGFACE_HUB_CACHE"),
            hf_home.as_ref().map(|h| h.join("hub")),
            folder("TRANSFORMERS_CACHE"),
        ] {
            search.hub(hub);
        }
        search.cache(hf_home);
        search.cache(Some(PathBuf::from(WORKING_FOLDER)));
        search
    }

    /// The folder that `vendomini fetch` writes to; `None` if there is no cache.
    pub fn fetch_into(&self) -> Option<&Path> {
        let first = self.model_folders.first().map(PathBuf::as_path);
        first.filter(|folder| *folder != Path::new(WORKING_FOLDER))
    }

    fn cache(&mut self, folder: Option<PathBuf>) {
        self.model_folders.extend(folder.filter(|f| !self.model_folders.contains(f)));
    }

    fn hub(&mut self, folder: Option<PathBuf>) {
        self.hub_caches.extend(folder.filter(|f| !self.hub_caches.contains(f)));
    }
}
