//! Where models may be.
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where models may be: a value, so that tests and machine descriptions can make their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchPaths {
    /// Folders with `org--name` folders and `.gguf` files in them; the first, `models` in our own
    /// cache, is where `vendomini fetch` writes.
    pub model_folders: Vec<PathBuf>,
    /// Hub caches: folders with `models--org--name` folders in them.
    pub hub_caches: Vec<PathBuf>,
}

impl SearchPaths {
    /// The places that the environment names: `VENDOMINI_CACHE`, `HF_HUB_CACHE`, `HF_HOME`, then
    /// the defaults below the home folder, then the working folder.
    pub fn from_env() -> Self {
        SearchPaths::from_variables(&|key| env::var_os(key))
    }

    /// The same with another environment, such as that of a job that is yet to be submitted.
    pub fn from_variables(variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let folder = |key: &str| variable(key).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = folder("HOME");
        let user_cache = folder("XDG_CACHE_HOME").or(home.map(|home| home.join(".cache")));
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
        search.cache(Some(PathBuf::from(".")));
        search
    }

    /// Where `vendomini fetch` writes.
    pub fn fetch_into(&self) -> Option<&Path> {
        self.model_folders.first().map(PathBuf::as_path)
    }

    fn cache(&mut self, folder: Option<PathBuf>) {
        self.model_folders.extend(folder.filter(|f| !self.model_folders.contains(f)));
    }

    fn hub(&mut self, folder: Option<PathBuf>) {
        self.hub_caches.extend(folder.filter(|f| !self.hub_caches.contains(f)));
    }
}
