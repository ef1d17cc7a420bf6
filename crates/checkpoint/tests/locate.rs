//! Tests that models are found by path, alias and hub name.
#![allow(clippy::print_stderr, reason = "a test")]
use checkpoint::{SearchPaths, locate};
use error_kind::{ErrorKind, HasKind};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct Places {
    _temp: TempDir,
    root: PathBuf,
    search: SearchPaths,
}

fn places() -> Places {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().to_owned();
    let search =
        SearchPaths { model_folders: vec![root.join("own")], hub_caches: vec![root.join("hub")] };
    Places { _temp: temp, root, search }
}

fn file(path: PathBuf, text: &str) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn snapshot(places: &Places, name: &str, commit: &str) -> PathBuf {
    let folder = places.root.join("hub").join(name).join("snapshots").join(commit);
    file(folder.join("config.json"), "{}");
    folder
}

#[test]
fn an_existing_path_is_returned_unchanged() {
    let p = places();
    let folder = file(p.root.join("some/model.gguf"), "GGUF");
    assert_eq!(locate(folder.to_str().unwrap(), &p.search).unwrap(), folder);
    assert_eq!(locate(p.root.to_str().unwrap(), &p.search).unwrap(), p.root);
}

#[test]
fn a_hub_name_follows_refs_main() {
    let p = places();
    let (old, new) =
        (snapshot(&p, "models--org--tiny", "aaa111"), snapshot(&p, "models--org--tiny", "bbb222"));
    let error = locate("org/tiny", &p.search).unwrap_err().to_string();
    assert!(error.contains("2 snapshots") && error.contains("@revision"), "{error}");
    file(p.root.join("hub/models--org--tiny/refs/main"), "bbb222\n");
    assert_eq!(locate("org/tiny", &p.search).unwrap(), new);
    assert_eq!(locate("org/tiny@aaa111", &p.search).unwrap(), old);
    assert_eq!(
        locate(p.root.join("hub/models--org--tiny").to_str().unwrap(), &p.search).unwrap(),
        new
    );
    file(p.root.join("hub/models--org--tiny/refs/pr"), "aaa111");
    assert_eq!(locate("org/tiny@pr", &p.search).unwrap(), old);
}

#[test]
fn a_single_snapshot_needs_no_ref() {
    let p = places();
    let only = snapshot(&p, "models--org--tiny", "aaa111");
    assert_eq!(locate("org/tiny", &p.search).unwrap(), only);
}

#[test]
fn a_ref_with_a_path_is_not_followed() {
    let p = places();
    snapshot(&p, "models--org--tiny", "aaa111");
    snapshot(&p, "models--org--tiny", "bbb222");
    file(p.root.join("hub/models--org--tiny/refs/main"), "../../../../etc");
    assert_eq!(locate("org/tiny", &p.search).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn folders_and_aliases_are_found() {
    let p = places();
    let folder = file(p.root.join("own/HuggingFaceTB--SmolLM2-135M-Instruct/x.gguf"), "GGUF")
        .parent()
        .unwrap()
        .to_owned();
    for name in ["smollm2", "SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"] {
        assert_eq!(locate(name, &p.search).unwrap(), folder, "{name}");
    }
    let own = file(p.root.join("own/mine/config.json"), "{}").parent().unwrap().to_owned();
    assert_eq!(locate("mine", &p.search).unwrap(), own);
    let gguf = file(p.root.join("own/flat.gguf"), "GGUF");
    assert_eq!(locate("flat", &p.search).unwrap(), gguf);
    let beside_hub =
        file(p.root.join("hub/org--local/config.json"), "{}").parent().unwrap().to_owned();
    assert_eq!(locate("org/local", &p.search).unwrap(), beside_hub);
}

#[test]
fn a_missing_model_lists_every_searched_place() {
    let p = places();
    fs::create_dir_all(p.root.join("own/org--none")).unwrap();
    snapshot(&p, "models--org--none", "aaa111");
    fs::remove_dir_all(p.root.join("hub/models--org--none/snapshots/aaa111")).unwrap();
    let error = locate("org/none", &p.search).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let words = error.to_string();
    for part in [
        "org--none (holds no model)",
        "models--org--none (no snapshot)",
        "vendomini fetch org/none",
        "no such path",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    for hostile in ["", "..", "../..", "a/../b", "/", "x\0y", "org/..", "org/name@../x"] {
        match locate(hostile, &p.search) {
            Ok(path) => assert!(Path::new(hostile).exists(), "{hostile:?} gave {}", path.display()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{hostile:?}"),
        }
    }
}

#[test]
fn a_dangling_link_is_reported_as_such() {
    let p = places();
    let link = p.root.join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let error = locate(link.to_str().unwrap(), &p.search).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("dangling link"), "{error}");
}

/// Fails on a model that is not found but may be there; the error names the file.
fn not_searched(model: &str, search: &SearchPaths, words: &[&str]) {
    let error = locate(model, search).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
}

#[test]
fn a_location_that_cannot_be_searched_is_not_absent() {
    let p = places();
    let found = snapshot(&p, "models--org--tiny", "aaa111");
    let beside = file(p.root.join("file"), "text");
    let below = |name: &str| SearchPaths {
        model_folders: vec![],
        hub_caches: vec![beside.join(name), p.root.join("hub")],
    };
    not_searched("org/none", &below("hub"), &["file", "Not a directory", "HF_HOME"]);
    // A model in another cache is found all the same.
    assert_eq!(locate("org/tiny", &below("hub")).unwrap(), found);
    let loop_link = p.root.join("loop");
    std::os::unix::fs::symlink("loop", &loop_link).unwrap();
    let search = SearchPaths { model_folders: vec![loop_link.clone()], hub_caches: vec![] };
    not_searched("org/tiny", &search, &["loop", "symbolic links"]);
    not_searched("plain", &search, &["loop"]);
    for inner in ["below/model", "x.gguf"] {
        let path = beside.join(inner);
        not_searched(path.to_str().unwrap(), &p.search, &["file", "Not a directory"]);
    }
    let refs = file(p.root.join("hub/models--org--tiny/refs"), "a file");
    not_searched("org/tiny", &p.search, &["refs", "Not a directory"]);
    fs::remove_file(&refs).unwrap();
    fs::create_dir(&refs).unwrap();
    std::os::unix::fs::symlink("main", refs.join("main")).unwrap();
    not_searched("org/tiny", &p.search, &["refs/main"]);
}

#[test]
fn a_closed_location_is_not_absent() {
    use std::os::unix::fs::PermissionsExt;
    let p = places();
    snapshot(&p, "models--org--tiny", "aaa111");
    let repository = p.root.join("hub/models--org--tiny");
    let reference = file(repository.join("refs/main"), "aaa111");
    let path = repository.join("snapshots/aaa111/config.json");
    for closed in [
        p.root.join("hub"),
        repository.clone(),
        repository.join("snapshots"),
        repository.join("refs"),
        reference,
    ] {
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
        if fs::read_dir(&closed).is_ok() || fs::File::open(&closed).is_ok() {
            eprintln!("SKIPPED: root may enter folders without permission");
            return;
        }
        let name = format!("{}: ", closed.display());
        not_searched("org/tiny", &p.search, &[&name, "Permission denied"]);
        if path.starts_with(&closed) {
            not_searched(path.to_str().unwrap(), &p.search, &[&name, "Permission denied"]);
        }
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn variables_with_a_home_or_a_name_are_expanded() {
    let search = SearchPaths::from_variables(&|name| {
        let text = match name {
            "HOME" => "/home/me",
            "SCRATCH" => "/scratch",
            "HF_HOME" => "$SCRATCH/hf",
            "HF_HUB_CACHE" => "~/hub",
            "VENDOMINI_CACHE" => "${SCRATCH}/own",
            _ => return None,
        };
        Some(text.into())
    });
    let expected = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(search.hub_caches, expected(&["/home/me/hub", "/scratch/hf/hub"]));
    let folders = ["/scratch/own/models", "/scratch/own", "/scratch/hf", "."];
    assert_eq!(search.model_folders, expected(&folders));
}

#[test]
fn without_home_the_caches_are_in_the_users_home() {
    let search = SearchPaths::from_variables(&|_| None);
    let is_whole =
        |path: &&PathBuf| path.is_absolute() && path.to_string_lossy().contains(".cache");
    assert_eq!(search.hub_caches.iter().filter(is_whole).count(), search.hub_caches.len());
    assert_ne!(search.fetch_into(), Some(Path::new(".")));
}
