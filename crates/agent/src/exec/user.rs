//! Users of the sandbox: from what a request names to whom a job runs as. Reads the sandbox's own
//! lists, which its workload may have written. It does not become anybody. `begin` calls it.

use std::io::Read;

use rustix::fs::{FileType, OFlags};

use crate::files::{GuestPath, Root};
use crate::sys::Identity;

/// Bytes of a list of users that are read: thousands of lines, where an image has fifty.
const LIST_BYTES_MAX: u64 = 1024 * 1024;

/// Whom a job runs as.
#[derive(Debug, PartialEq, Eq)]
pub struct User {
    pub identity: Identity,
    /// Its name and home, when the sandbox has an entry for it.
    pub entry: Option<Entry>,
}

/// What the sandbox says of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub home: String,
}

/// Finds `wanted`: a name or a number, alone or before a colon and a group. The error is for
/// people.
pub fn find(root: Root<'_>, wanted: &str) -> Result<User, String> {
    let users = || read(root, "/etc/passwd");
    let groups = || read(root, "/etc/group");
    resolve(wanted, users, groups)
}

fn resolve(
    wanted: &str,
    users: impl FnOnce() -> Result<String, String>,
    groups: impl FnOnce() -> Result<String, String>,
) -> Result<User, String> {
    let (name, group) = match wanted.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (wanted, None),
    };
    let number = number(name);
    // A number needs no list, so one that cannot be read is as good as none.
    let users = if number.is_some() { users().unwrap_or_default() } else { users()? };
    let found = users.lines().filter_map(Line::parse).find(|line| match number {
        Some(uid) => line.uid == uid,
        None => line.name == name,
    });
    let (uid, own_gid) = match (number, &found) {
        (_, Some(line)) => (line.uid, line.gid),
        (Some(uid), None) => (uid, uid),
        (None, None) => return Err(format!("user: the sandbox has no user {name:?}")),
    };
    let gid = match group {
        None => own_gid,
        Some(group) => find_group(group, groups)?,
    };
    let entry = found.map(|line| Entry { name: line.name.to_owned(), home: line.home.to_owned() });
    Ok(User { identity: Identity { uid, gid }, entry })
}

fn find_group(group: &str, groups: impl FnOnce() -> Result<String, String>) -> Result<u32, String> {
    if let Some(gid) = number(group) {
        return Ok(gid);
    }
    let unknown = || format!("user: the sandbox has no group {group:?}");
    let groups = groups()?;
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((name, number(fields.nth(1)?)?))
        })
        .find_map(|(name, gid)| (name == group && !name.is_empty()).then_some(gid))
        .ok_or_else(unknown)
}

/// A number that can be an id: the largest one means "none" to the kernel.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

/// A line of `/etc/passwd`.
struct Line<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let (uid, gid) = (number(fields.nth(1)?)?, number(fields.next()?)?);
        let home = fields.nth(1)?;
        Some(Self { name, uid, gid, home })
    }
}

/// Reads a list. The workload may have put anything in its place, so nothing but a file of
/// sensible size is read.
fn read(root: Root<'_>, path: &str) -> Result<String, String> {
    let fail = |why: &str| format!("user: {path}: {why}");
    let guest = GuestPath::parse(path).map_err(|error| error.message)?;
    let file = root
        .open(&guest, OFlags::RDONLY | OFlags::NONBLOCK)
        .map_err(|errno| fail(&errno.to_string()))?;
    let stat = rustix::fs::fstat(&file).map_err(|errno| fail(&errno.to_string()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(fail("not a file"));
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::from(file).take(LIST_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| fail(&error.to_string()))?;
    if bytes.len() as u64 > LIST_BYTES_MAX {
        return Err(fail("too large"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\n\
        broken\nno:number:here:x::/:\n:x:5:5::/nameless:/bin/sh\n\
        dev:x:1000:1001:Dev,,,:/home/dev:/bin/bash\nold:x:1000:7::/old:\n";
    const GROUPS: &str = "root:x:0:\nbroken\nstaff:x:50:dev,root\n";

    fn find(wanted: &str) -> Result<(u32, u32, Option<String>), String> {
        let user = resolve(wanted, || Ok(USERS.to_owned()), || Ok(GROUPS.to_owned()))?;
        let Identity { uid, gid } = user.identity;
        Ok((uid, gid, user.entry.map(|entry| format!("{}@{}", entry.name, entry.home))))
    }

    #[test]
    fn users_are_found_by_name_and_number_with_their_group() {
        let dev = Some("dev@/home/dev".to_owned());
        for (wanted, ids) in [
            ("dev", (1000, 1001)),
            ("1000", (1000, 1001)),
            ("dev:staff", (1000, 50)),
            ("1000:7", (1000, 7)),
        ] {
            assert_eq!(find(wanted), Ok((ids.0, ids.1, dev.clone())), "{wanted}");
        }
        assert_eq!(find("4242"), Ok((4242, 4242, None)));
        assert_eq!(find("4242:staff"), Ok((4242, 50, None)));
    }

    #[test]
    fn what_is_no_user_is_named_in_the_error() {
        for wanted in ["bob", "", ":", "4294967295", "-1", "+5", " 5", "broken", "no", "dev\n"] {
            let error = find(wanted).unwrap_err();
            assert!(error.contains("no user"), "{wanted:?}: {error}");
        }
        for wanted in ["dev:", "dev:nobody", "dev:4294967295", "dev:a:b", "5:broken"] {
            let error = find(wanted).unwrap_err();
            assert!(error.contains("no group"), "{wanted:?}: {error}");
        }
    }

    #[test]
    fn a_number_needs_no_list() {
        let missing = || Err("missing".to_owned());
        assert_eq!(resolve("7", missing, missing).unwrap().identity, Identity { uid: 7, gid: 7 });
        assert_eq!(resolve("seven", missing, missing).unwrap_err(), "missing");
    }
}
