//! Paths in environment variables, as Python's `os.path.expanduser` and `expandvars` read them.
//! Shells expand `~` and `$NAME`; unit files, `.env` files and quoted exports do not.
use nix::unistd::{Uid, User};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The value of an environment variable.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The path in a variable, with `~`, `~user`, `$NAME` and `${NAME}` expanded; `None` if it is unset
/// or empty. An unknown user or name is left as it is.
pub fn path_variable(name: &str, variables: Variables<'_>) -> Option<PathBuf> {
    let text = variables(name).filter(|text| !text.is_empty())?;
    let path = expand_user(&text, variables);
    Some(shellexpand::path::env_with_context_no_errors(&path, variables).into_owned())
}

/// The user's home folder: `HOME`, else that of the user database.
pub fn home_folder(variables: Variables<'_>) -> Option<PathBuf> {
    let home = variables("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    home.or_else(|| Some(User::from_uid(Uid::current()).ok()??.dir))
}

fn expand_user(text: &OsStr, variables: Variables<'_>) -> PathBuf {
    let Some(rest) = text.as_bytes().strip_prefix(b"~") else { return text.into() };
    let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    let (user, below) = rest.split_at(end);
    let home = match std::str::from_utf8(user) {
        Ok("") => home_folder(variables),
        Ok(user) => User::from_name(user).ok().flatten().map(|user| user.dir),
        Err(_) => None,
    };
    match home {
        Some(home) => {
            [home.as_os_str(), OsStr::from_bytes(below)].into_iter().collect::<OsString>().into()
        }
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_expanded_as_in_python() {
        let variables = |name: &str| {
            Some(OsString::from(match name {
                "HOME" => "/home/me",
                "SCRATCH" => "/scratch/me",
                "TILDE" => "~/x",
                name => name.strip_prefix("IS ")?,
            }))
        };
        let root = User::from_name("root").expect("a user database").expect("root").dir;
        for (text, expected) in [
            ("~", PathBuf::from("/home/me")),
            ("~/hf", "/home/me/hf".into()),
            ("~root/hf", root.join("hf")),
            ("~no such user/hf", "~no such user/hf".into()),
            ("$SCRATCH/hf", "/scratch/me/hf".into()),
            ("/a/${SCRATCH}x/$NONE/${NONE}", "/a//scratch/mex/$NONE/${NONE}".into()),
            ("$TILDE", "~/x".into()),
            ("/a/~/b", "/a/~/b".into()),
            ("plain/path", "plain/path".into()),
        ] {
            assert_eq!(path_variable(&format!("IS {text}"), &variables), Some(expected), "{text}");
        }
        assert_eq!(path_variable("IS ", &variables), None);
        assert_eq!(path_variable("NONE", &variables), None);
    }

    #[test]
    fn without_home_the_user_database_has_it() {
        let home = User::from_uid(Uid::current()).expect("a user database").map(|user| user.dir);
        assert_eq!(home_folder(&|_| None), home);
        assert_eq!(home_folder(&|_| Some(OsString::new())), home);
    }
}
