//! `user` and `group_add`: names to numbers, and whether we may take them.

use std::collections::BTreeSet;
use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid};

use crate::plan::action::Fault;
use crate::world::kernel::launch::Identity;
use crate::world::kernel::users;

/// Whom a process runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// What the child must change; none when it runs as we do.
    pub identity: Option<Identity>,
    /// Its entry in the user table, when it is another user than ours.
    pub other: Option<Entry>,
}

/// What programs expect to find in their environment about their user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `USER`, `LOGNAME`.
    pub name: String,
    /// `HOME`.
    pub home: String,
}

impl Account {
    /// The owner of files made for it.
    pub fn owner(&self) -> Option<(u32, u32)> {
        self.identity.as_ref().map(|identity| (identity.uid, identity.gid))
    }

    /// `user`: `name|uid[:name|gid]`, and `group_add`. Anything but ourselves needs root.
    pub fn resolve(user: Option<&str>, group_add: &[String]) -> Result<Self, Fault> {
        if user.is_none() && group_add.is_empty() {
            return Ok(Self::default());
        }
        let (user, group) = match user.map(|text| text.split_once(':')) {
            Some(Some((user, group))) => (user, Some(group)),
            Some(None) => (user.unwrap_or_default(), None),
            None => ("", None),
        };
        let (uid, entry) = if user.is_empty() { own() } else { lookup_user(user)? };
        let primary = entry.as_ref().map_or(getegid(), |entry| entry.gid);
        let gid = group.map_or(Ok(primary), lookup_group)?;
        let added = group_add.iter().map(|group| lookup_group(group)).collect::<Result<Vec<_>, _>>()?;
        if geteuid().is_root() {
            let mut groups: Vec<u32> = match &entry {
                Some(entry) => member_of(&entry.name, gid),
                None => vec![gid.as_raw()],
            };
            groups.extend(added.iter().map(|group| group.as_raw()));
            let mut seen = BTreeSet::new();
            groups.retain(|group| seen.insert(*group));
            let other = entry.filter(|entry| entry.uid != geteuid());
            return Ok(Self {
                identity: Some(Identity { uid: uid.as_raw(), gid: gid.as_raw(), groups }),
                other: other.map(|entry| Entry { name: entry.name, home: entry.dir.display().to_string() }),
            });
        }
        if uid != geteuid() {
            return Err(Fault::permanent(format!("`user: {user}` needs root; without it a process runs as its caller")));
        }
        let ours: BTreeSet<u32> = users::own_groups().into_iter().chain([getegid().as_raw()]).collect();
        let foreign = (group.map(|name| (name, gid)).into_iter())
            .chain(group_add.iter().map(String::as_str).zip(added))
            .find(|(_, gid)| !ours.contains(&gid.as_raw()));
        match foreign {
            Some((name, _)) => Err(Fault::permanent(format!("group `{name}` needs root, or the caller must be a member of it"))),
            None if gid != getegid() => Err(Fault::permanent("another primary group than the caller's needs root")),
            None => Ok(Self::default()),
        }
    }
}

fn own() -> (Uid, Option<User>) {
    (geteuid(), User::from_uid(geteuid()).ok().flatten())
}

fn lookup_user(text: &str) -> Result<(Uid, Option<User>), Fault> {
    if let Ok(number) = text.parse::<u32>() {
        let uid = Uid::from_raw(number);
        return Ok((uid, User::from_uid(uid).ok().flatten()));
    }
    match User::from_name(text) {
        Ok(Some(user)) => Ok((user.uid, Some(user))),
        Ok(None) => Err(Fault::permanent(format!("no user `{text}` on this host"))),
        Err(errno) => Err(Fault::temporary(format!("look up user `{text}`: {}", errno.desc()))),
    }
}

fn lookup_group(text: &str) -> Result<Gid, Fault> {
    if let Ok(number) = text.parse::<u32>() {
        return Ok(Gid::from_raw(number));
    }
    match Group::from_name(text) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(Fault::permanent(format!("no group `{text}` on this host"))),
        Err(errno) => Err(Fault::temporary(format!("look up group `{text}`: {}", errno.desc()))),
    }
}

fn member_of(user: &str, gid: Gid) -> Vec<u32> {
    let groups = CString::new(user).ok().and_then(|user| users::groups_of(&user, gid.as_raw()));
    groups.unwrap_or_else(|| vec![gid.as_raw()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_does_not_exist_is_said_before_the_start() {
        let fault = Account::resolve(Some("no-such-user-here"), &[]).unwrap_err();
        assert_eq!(fault.message, "no user `no-such-user-here` on this host");
    }

    #[test]
    fn the_caller_itself_may_always_be_named() {
        let uid = geteuid().to_string();
        assert_eq!(Account::resolve(Some(&uid), &[]).unwrap().other, None);
    }
}
