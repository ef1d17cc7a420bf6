//! Tests that models are found by path, alias and hub name.
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
