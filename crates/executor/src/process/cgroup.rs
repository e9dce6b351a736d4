//! Control groups: limits that hold for a command with everything it starts, and a census that
//! nothing escapes. They are used where the system has them and this user may make some, of version
//! 2 or 1; elsewhere commands run without.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidemill_model::dag::Resources;

/// The controllers that limits need.
const CONTROLLERS: [&str; 3] = ["pids", "memory", "cpu"];

/// The length of the span in which processor time is shared out, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;

/// Where groups can be made.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// The folder of each controller, and whether it is one of version 2.
    folders: Vec<(&'static str, PathBuf)>,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Version {
    #[default]
    None,
    /// A hierarchy for each controller.
    One,
    /// One hierarchy for all.
    Two,
}

/// The group of a command. Written into its record, so that whoever ends it finds it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Group {
    version: Version,
    /// By controller; the first one tells who belongs to it.
    folders: Vec<(String, PathBuf)>,
}

/// Which of its limits a command met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Met {
    /// It was ended for want of memory.
    #[serde(default)]
    pub(crate) memory: bool,
    /// It was refused a process.
    #[serde(default)]
    pub(crate) processes: bool,
}

impl Groups {
    /// Looks where groups can be made below the group of this process.
    pub(crate) fn find() -> Self {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let two = Self::version_two(&own, &mounts);
        two.or_else(|| Self::version_one(&own, &mounts)).unwrap_or_default()
    }

    fn version_two(own: &str, mounts: &str) -> Option<Self> {
        let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        let root = mount(mounts, "cgroup2", None)?;
        let own = below(&root, path);
        // Controllers go to the children of a group without processes of its own. That of a service
        // has one: the server. With `DelegateSubgroup` the server stands in a group below it.
        let candidates = [Some(own.as_path()), own.parent()];
        let folder = candidates.into_iter().flatten().find(|folder| {
            folder.starts_with(&root)
                && std::fs::write(folder.join("cgroup.subtree_control"), "+pids +memory +cpu")
                    .is_ok()
                && can_make(folder)
        })?;
        let folders = CONTROLLERS.iter().map(|name| (*name, folder.to_owned())).collect();
        Some(Self { folders, version: Version::Two })
    }

    fn version_one(own: &str, mounts: &str) -> Option<Self> {
        let path_of = |controller: &str| {
            own.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                controllers.split(',').any(|name| name == controller).then_some(path)
            })
        };
        let folders: Vec<_> = (CONTROLLERS.iter())
            .filter_map(|name| {
                let folder = below(&mount(mounts, "cgroup", Some(name))?, path_of(name)?);
                can_make(&folder).then_some((*name, folder))
            })
            .collect();
        (!folders.is_empty()).then_some(Self { folders, version: Version::One })
    }

    /// Whether the limit of a controller can be set.
    pub(crate) fn has(&self, controller: &str) -> bool {
        self.folders.iter().any(|(name, _)| *name == controller)
    }

    /// Makes a group with these limits, of the controllers that they need.
    pub(crate) fn make(&self, name: &str, limits: &Resources) -> io::Result<Option<Group>> {
        let needed = |controller: &str| match controller {
            "memory" => limits.memory_bytes.is_some(),
            "cpu" => limits.cpu_millis.is_some(),
            _ => true,
        };
        let mut group = Group { version: self.version, folders: Vec::new() };
        for (controller, folder) in self.folders.iter().filter(|(name, _)| needed(name)) {
            let folder = folder.join(name);
            if self.version != Version::Two || group.folders.is_empty() {
                std::fs::create_dir(&folder)?;
            }
            group.folders.push(((*controller).to_owned(), folder));
            group.limit(controller, limits)?;
        }
        Ok((!group.folders.is_empty()).then_some(group))
    }
}

impl Group {
    fn limit(&self, controller: &str, limits: &Resources) -> io::Result<()> {
        let two = self.version == Version::Two;
        let put = |file: &str, value: String| match self.folder(controller) {
            Some(folder) => std::fs::write(folder.join(file), value),
            None => Ok(()),
        };
        match controller {
            "pids" => {
                let most = limits.processes.map_or_else(|| "max".to_owned(), |n| n.to_string());
                put("pids.max", most)
            }
            "memory" => {
                let bytes = limits.memory_bytes.unwrap_or(u64::MAX).to_string();
                if two {
                    put("memory.max", bytes)?;
                    // With swap it would only become slow. A system without has no such file.
                    let _ = put("memory.swap.max", "0".to_owned());
                    let _ = put("memory.oom.group", "1".to_owned());
                    return Ok(());
                }
                put("memory.limit_in_bytes", bytes.clone())?;
                let _ = put("memory.memsw.limit_in_bytes", bytes);
                Ok(())
            }
            _ => {
                let quota = u64::from(limits.cpu_millis.unwrap_or(1_000)) * CPU_PERIOD_US / 1_000;
                if two {
                    return put("cpu.max", format!("{quota} {CPU_PERIOD_US}"));
                }
                put("cpu.cfs_period_us", CPU_PERIOD_US.to_string())?;
                put("cpu.cfs_quota_us", quota.to_string())
            }
        }
    }

    fn folder(&self, controller: &str) -> Option<&Path> {
        let found = self.folders.iter().find(|(name, _)| name == controller);
        found.map(|(_, folder)| folder.as_path())
    }

    /// The folders, each once.
    fn places(&self) -> impl Iterator<Item = &Path> {
        let all = if self.version == Version::Two { 1 } else { self.folders.len() };
        self.folders.iter().take(all).map(|(_, folder)| folder.as_path())
    }

    /// Puts a process into it; what it starts from then on belongs to it, too.
    pub(crate) fn add(&self, pid: i32) -> io::Result<()> {
        self.places().try_for_each(|at| std::fs::write(at.join("cgroup.procs"), pid.to_string()))
    }

    /// Its processes; `None` if the group is gone.
    pub(crate) fn members(&self) -> Option<Vec<i32>> {
        let procs = std::fs::read_to_string(self.places().next()?.join("cgroup.procs")).ok()?;
        Some(procs.lines().filter_map(|line| line.trim().parse().ok()).collect())
    }

    /// No process of it can start another any more: nothing outruns its end.
    pub(crate) fn close(&self) {
        if let Some(folder) = self.folder("pids") {
            let _ = std::fs::write(folder.join("pids.max"), "0");
        }
    }

    /// Which limits were met.
    pub(crate) fn met(&self) -> Met {
        let count = |controller: &str, file: &str, key: &str| {
            let text = self.folder(controller).map(|at| std::fs::read_to_string(at.join(file)));
            let text = text.and_then(Result::ok).unwrap_or_default();
            let found = text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
            found.unwrap_or(0_u64) > 0
        };
        let events = match self.version {
            Version::Two => "memory.events",
            _ => "memory.oom_control",
        };
        Met {
            memory: count("memory", events, "oom_kill "),
            processes: count("pids", "pids.events", "max "),
        }
    }

    /// Removes it, once it is empty.
    pub(crate) fn remove(&self) {
        for place in self.places() {
            let _ = std::fs::remove_dir(place);
        }
    }
}

/// Where a hierarchy is mounted, and which of its groups the mount shows as its root.
fn mount(mounts: &str, kind: &str, controller: Option<&str>) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (place, about) = line.split_once(" - ")?;
        let mut about = about.split(' ');
        let fits = about.next()? == kind
            && controller.is_none_or(|name| {
                about.nth(1).is_some_and(|options| options.split(',').any(|option| option == name))
            });
        let place = place.split(' ').nth(4)?;
        fits.then(|| PathBuf::from(place.replace("\\040", " ")))
    })
}

/// The group at `path` in the hierarchy mounted at `root`. In a container the mount may show less
/// than the path names; then it is the root.
fn below(root: &Path, path: &str) -> PathBuf {
    let folder = root.join(path.trim_start_matches('/'));
    if folder.is_dir() { folder } else { root.to_owned() }
}

/// Whether this user may make groups here.
fn can_make(folder: &Path) -> bool {
    let probe = folder.join(format!("tidemill-probe-{}", std::process::id()));
    std::fs::create_dir(&probe).is_ok() && std::fs::remove_dir(&probe).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
25 30 0:23 / /sys rw,nosuid - sysfs sysfs rw
33 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
34 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 25 0:30 / /sys/fs/cgroup/my\\040pids rw - cgroup cgroup rw,pids
";

    #[test]
    fn hierarchies_are_found_where_they_are_mounted() {
        let at = |kind, controller| mount(MOUNTS, kind, controller);
        assert_eq!(at("cgroup2", None), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(at("cgroup", Some("cpu")), Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        assert_eq!(at("cgroup", Some("pids")), Some("/sys/fs/cgroup/my pids".into()));
        assert_eq!(at("cgroup", Some("memory")), None);
    }

    #[test]
    fn version_two_is_written_as_it_wants_it() {
        let root = tempfile::tempdir().unwrap();
        let folders = CONTROLLERS.iter().map(|name| (*name, root.path().to_owned())).collect();
        let groups = Groups { folders, version: Version::Two };
        let limits = Resources {
            memory_bytes: Some(1 << 20),
            cpu_millis: Some(1_500),
            processes: Some(7),
            files: None,
        };
        let group = groups.make("one", &limits).unwrap().unwrap();
        let read =
            |file: &str| std::fs::read_to_string(root.path().join("one").join(file)).unwrap();
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!(read("cpu.max"), "150000 100000");
        assert_eq!(read("pids.max"), "7");
        group.add(17).unwrap();
        assert_eq!(group.members(), Some(vec![17]));
        assert_eq!(group.met(), Met::default());
        std::fs::write(root.path().join("one/memory.events"), "oom 1\noom_kill 2\n").unwrap();
        std::fs::write(root.path().join("one/pids.events"), "max 3\n").unwrap();
        assert_eq!(group.met(), Met { memory: true, processes: true });
    }
}
