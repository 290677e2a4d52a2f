//! What the process finds around it, read once at its start and handed down, so that nothing else
//! asks the system.

use std::path::PathBuf;

/// Where the process runs, as whom, and with which variables.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The working directory.
    pub directory: PathBuf,
    /// The user's home.
    pub home: Option<PathBuf>,
    /// Whether the user is root.
    pub is_root: bool,
    variables: Vec<(String, String)>,
}

impl Surroundings {
    /// Those of this process. A variable that is not UTF-8 is none of ours.
    pub fn of_this_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            directory: PathBuf::from("."),
            home: std::env::home_dir().filter(|home| !home.as_os_str().is_empty()),
            is_root: rustix::process::geteuid().is_root(),
            variables: std::env::vars_os().filter_map(text).collect(),
        }
    }

    /// The environment.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The data directory unless another one is named.
    pub fn default_data_dir(&self) -> PathBuf {
        match &self.home {
            Some(home) if !self.is_root => home.join(".stacyvm/data"),
            Some(_) | None => PathBuf::from("/var/lib/stacyvm"),
        }
    }
}

#[cfg(test)]
impl Surroundings {
    /// Those that a test describes.
    pub fn with(directory: PathBuf, home: PathBuf, variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            directory,
            home: Some(home),
            is_root: false,
            variables: variables.iter().map(owned).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_keeps_state_where_services_do_and_others_in_their_home() {
        let mut around = Surroundings::with("/d".into(), "/home/u".into(), &[]);
        assert_eq!(around.default_data_dir(), PathBuf::from("/home/u/.stacyvm/data"));
        around.is_root = true;
        assert_eq!(around.default_data_dir(), PathBuf::from("/var/lib/stacyvm"));
    }
}
