//! The folder for files that can be computed or downloaded again.
//!
//! It is `$XDG_CACHE_HOME`, or `~/.cache` if that is not set, on every system: Python's `huggingface_hub` uses the same
//! folder, and its models are in it. A value that is not absolute is used as it is, as in Python.

use std::env;
use std::path::PathBuf;

/// Returns the user's cache folder. `var` returns the value of an environment variable, or `None` if it is unset or blank.
pub(crate) fn of_user(var: &impl Fn(&str) -> Option<String>) -> PathBuf {
    var("XDG_CACHE_HOME").map_or_else(|| expand("~/.cache", var), |path| expand(&path, var))
}

/// Returns this program's own folder in the user's cache folder, or `None` if the user has no home folder.
pub fn of_vae() -> Option<PathBuf> {
    let folder = of_user(&variable);
    (!folder.starts_with("~")).then(|| folder.join("vae"))
}

/// Returns an environment variable that is set to more than white space.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Expands `~/` at the start, and `$NAME` and `${NAME}` anywhere, as Python does. A variable that is not set stays as it
/// is.
pub(crate) fn expand(path: &str, var: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let mut parts = path.split('$');
    let mut expanded = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let braced = part.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let (name, rest) = braced.unwrap_or_else(|| {
            part.split_at(part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len()))
        });
        match var(name) {
            Some(value) => expanded.extend([value.as_str(), rest]),
            None => expanded.extend(["$", part]),
        }
    }
    match (expanded.strip_prefix("~/"), env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(expanded),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_users_folder_is_that_of_python() {
        let of_user = |variables: &[(&str, &str)]| {
            of_user(&|name: &str| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
            })
        };
        let home = env::home_dir().expect("a home folder");
        assert_eq!(of_user(&[]), home.join(".cache"));
        assert_eq!(of_user(&[("XDG_CACHE_HOME", "/c")]), Path::new("/c"));
        assert_eq!(of_user(&[("XDG_CACHE_HOME", "~/c")]), home.join("c"));
        assert_eq!(of_user(&[("XDG_CACHE_HOME", "${A}/c$B"), ("A", "/a")]), Path::new("/a/c$B"));
        assert_eq!(of_user(&[("XDG_CACHE_HOME", "relative")]), Path::new("relative"));
    }
}
