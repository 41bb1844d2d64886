//! How much memory this program may still take, from the files in which Linux reports it: what the machine has left, what
//! the memory cgroups of a container leave, and what `ulimit -v` and `ulimit -d` leave. Elsewhere, nothing is known.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Serialize;

/// The memory of the machine and of this program, in bytes.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// Of the machine.
    pub total: Option<u64>,
    /// Available to this program without swapping.
    pub free: Option<u64>,
    /// What decides how much is free, if it is not the machine.
    pub limit: Option<Limit>,
}

/// A limit below the memory of the machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limit {
    /// `the container`, or the command that set it.
    pub source: &'static str,
    /// How much it allows.
    pub bytes: u64,
}

/// The limits of this process; only those that are lower than the memory of the machine.
#[derive(Debug, Default)]
struct Limits {
    groups: Vec<Group>,
    /// With the key in /proc/self/status of what they limit.
    ulimits: Vec<(Limit, &'static str)>,
}

impl Memory {
    pub fn current() -> Self {
        /// They are looked up once, since that takes longer than to encode a small picture.
        static LIMITS: OnceLock<Limits> = OnceLock::new();
        Self::within(LIMITS.get_or_init(|| Limits::find(read)), read)
    }

    /// Reads the files of the system with `file`.
    fn within(limits: &Limits, file: impl Fn(&Path) -> Option<String>) -> Self {
        let meminfo = file(Path::new("/proc/meminfo")).unwrap_or_default();
        let (total, available) = (kilobytes(&meminfo, "MemTotal:"), kilobytes(&meminfo, "MemAvailable:"));
        let status = match limits.ulimits.is_empty() {
            true => String::new(),
            false => file(Path::new("/proc/self/status")).unwrap_or_default(),
        };
        let ulimits = limits.ulimits.iter().filter_map(|(limit, key)| {
            Some((limit.clone(), limit.bytes.saturating_sub(kilobytes(&status, key)?)))
        });
        let groups = limits.groups.iter().filter_map(|group| Some((group.limit(&file)?, group.free(&file)?)));
        let tightest = ulimits.chain(groups).min_by_key(|&(_, free)| free);
        match tightest.filter(|&(_, free)| available.is_none_or(|available| free < available)) {
            Some((limit, free)) => Self { total, free: Some(free), limit: Some(limit) },
            None => Self { total, free: available, limit: None },
        }
    }
}

impl Limits {
    /// Reads the files of the system with `file`.
    fn find(file: impl Fn(&Path) -> Option<String>) -> Self {
        let text = |path: &str| file(Path::new(path)).unwrap_or_default();
        let total = kilobytes(&text("/proc/meminfo"), "MemTotal:").unwrap_or(u64::MAX);
        let limits = text("/proc/self/limits");
        let ulimit = |(source, name, key)| {
            let bytes = soft_limit(&limits, name)?;
            Some((Limit { source, bytes }, key))
        };
        let ulimits =
            [("`ulimit -v`", "Max address space", "VmSize:"), ("`ulimit -d`", "Max data size", "VmData:")];
        let mut groups = groups(&text("/proc/self/cgroup"), &text("/proc/self/mountinfo"));
        groups.retain(|group| group.limit(&file).is_some_and(|limit| limit.bytes < total));
        Self { groups, ulimits: ulimits.into_iter().filter_map(ulimit).collect() }
    }
}

/// Finds a line `KEY 123 kB`, and returns its bytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Reads a file that has no known size at once.
fn read(path: &Path) -> Option<String> {
    let mut text = String::with_capacity(8192);
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Finds a limit in /proc/self/limits: `Max data size  SOFT  HARD  bytes`. `None` if it is `unlimited`.
fn soft_limit(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A memory cgroup to which this process belongs.
#[derive(Debug, PartialEq)]
struct Group {
    folder: PathBuf,
    files: &'static GroupFiles,
}

/// The names in a version of cgroups. Memory that holds cached files can be freed by the system.
#[derive(Debug, PartialEq)]
struct GroupFiles {
    /// The process is killed, or slowed down, above the lowest of these.
    limits: &'static [&'static str],
    used: &'static str,
    /// In `memory.stat`.
    cached: [&'static str; 2],
}

const V1: GroupFiles = GroupFiles {
    limits: &["memory.limit_in_bytes"],
    used: "memory.usage_in_bytes",
    cached: ["total_inactive_file", "total_active_file"],
};

const V2: GroupFiles = GroupFiles {
    limits: &["memory.max", "memory.high"],
    used: "memory.current",
    cached: ["inactive_file", "active_file"],
};

/// Finds the memory cgroups of this process and their parents, each of which can have a limit.
///
/// `cgroup` has lines `NUMBER:CONTROLLERS:PATH`; version 2 has no controllers. `mountinfo` says where the tree of groups is
/// mounted, and which of its groups is the root there: `ID PARENT DEVICE ROOT MOUNT OPTIONS … - TYPE SOURCE OPTIONS`.
fn groups(cgroup: &str, mountinfo: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in mountinfo.lines() {
        let Some((fields, system)) = line.split_once(" - ") else { continue };
        let mut system = system.split(' ');
        let is_memory = |controllers: &str| controllers.split(',').any(|name| name == "memory");
        let files = match (system.next(), system.nth(1)) {
            (Some("cgroup2"), _) => &V2,
            (Some("cgroup"), Some(options)) if is_memory(options) => &V1,
            _ => continue,
        };
        let mine = |line: &str| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let wanted = if files == &V2 { controllers.is_empty() } else { is_memory(controllers) };
            wanted.then(|| path.to_owned())
        };
        let mut fields = fields.split(' ').skip(3);
        let (Some(path), Some(root), Some(mount)) =
            (cgroup.lines().find_map(mine), fields.next(), fields.next())
        else {
            continue;
        };
        // In a container, the path can begin with the container's own, which is the root of its mount, or be outside.
        let below = Path::new(&path).strip_prefix(root).unwrap_or(Path::new(""));
        let ancestors =
            below.ancestors().map(|folder| Group { folder: Path::new(mount).join(folder), files });
        groups.extend(ancestors);
    }
    groups
}

impl Group {
    fn number(&self, name: &str, file: impl Fn(&Path) -> Option<String>) -> Option<u64> {
        file(&self.folder.join(name))?.trim().parse().ok()
    }

    /// Returns the limit, if the group has one.
    fn limit(&self, file: impl Fn(&Path) -> Option<String>) -> Option<Limit> {
        let bytes = self.files.limits.iter().filter_map(|name| self.number(name, &file)).min()?;
        Some(Limit { source: "the container", bytes })
    }

    /// Returns how much of the limit is left.
    fn free(&self, file: impl Fn(&Path) -> Option<String>) -> Option<u64> {
        let stat = file(&self.folder.join("memory.stat")).unwrap_or_default();
        let cached = |line: &str| {
            let (key, bytes) = line.split_once(' ')?;
            self.files.cached.contains(&key).then(|| bytes.trim().parse::<u64>().ok())?
        };
        let cached: u64 = stat.lines().filter_map(cached).sum();
        let used = self.number(self.files.used, &file)?.saturating_sub(cached);
        Some(self.limit(&file)?.bytes.saturating_sub(used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str =
        "MemTotal:       24683884 kB\nMemFree:        22573220 kB\nMemAvailable:   23991548 kB\n";
    const UNLIMITED: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
        Max data size             unlimited            unlimited            bytes     \n\
        Max address space         unlimited            unlimited            bytes     \n";
    const STATUS: &str = "Name:\tvae\nVmPeak:\t  120000 kB\nVmSize:\t  110000 kB\nVmData:\t   50000 kB\n";
    /// A container of version 2 without a namespace of its own, as systemd mounts it.
    const MOUNT_V2: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    /// A container of version 1: its own group is the root of the mount.
    const MOUNT_V1: &str = "32 31 0:29 /docker/ab12 /sys/fs/cgroup/cpu,cpuacct ro,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 /docker/ab12 /sys/fs/cgroup/memory ro,relatime master:17 - cgroup cgroup rw,memory\n";

    /// Reads the memory from files of these names and contents.
    fn memory(files: &[(&str, &str)]) -> Memory {
        let defaults =
            [("/proc/meminfo", MEMINFO), ("/proc/self/limits", UNLIMITED), ("/proc/self/status", STATUS)];
        read(|path| {
            let same = |&&(name, _): &&(&str, &str)| Path::new(name) == path;
            let found = files.iter().find(same).or_else(|| defaults.iter().find(same));
            found.map(|&(_, text)| text.to_owned())
        })
    }

    fn read(file: impl Fn(&Path) -> Option<String>) -> Memory {
        Memory::within(&Limits::find(&file), &file)
    }

    fn limit(source: &'static str, bytes: u64) -> Option<Limit> {
        Some(Limit { source, bytes })
    }

    #[test]
    fn without_limits_the_machine_decides() {
        let machine = memory(&[]);
        assert_eq!((machine.total, machine.free), (Some(24_683_884 * 1024), Some(23_991_548 * 1024)));
        assert_eq!(machine.limit, None);
        let nothing = read(|_| None);
        assert_eq!((nothing.total, nothing.free, nothing.limit), (None, None, None));
        let no_numbers = read(|_| Some("MemAvailable: much\n\nMax address space\n0::\n- cgroup2".into()));
        assert_eq!((no_numbers.free, no_numbers.limit), (None, None));
    }

    #[test]
    fn the_tightest_group_of_version_2_decides() {
        let folder = |name: &str| format!("/sys/fs/cgroup/system.slice/{name}");
        let (max, high) = (folder("run.scope/memory.max"), folder("run.scope/memory.high"));
        let (used, stat) = (folder("run.scope/memory.current"), folder("run.scope/memory.stat"));
        let (parent, parent_used) = (folder("memory.max"), folder("memory.current"));
        let files = |max_text: &'static str, high_text, parent_text| {
            memory(&[
                ("/proc/self/cgroup", "0::/system.slice/run.scope\n"),
                ("/proc/self/mountinfo", MOUNT_V2),
                (&max, max_text),
                (&high, high_text),
                (&used, "100000000\n"),
                (&stat, "anon 50000000\nfile 45000000\ninactive_file 30000000\nactive_file 10000000\n"),
                (&parent, parent_text),
                (&parent_used, "500000000\n"),
            ])
        };
        let found = files("max\n", "max\n", "max\n");
        assert_eq!((found.free, found.limit), (Some(23_991_548 * 1024), None));
        let found = files("300000000\n", "max\n", "max\n");
        assert_eq!((found.free, found.limit), (Some(240_000_000), limit("the container", 300_000_000)));
        let found = files("300000000\n", "200000000\n", "max\n");
        assert_eq!((found.free, found.limit), (Some(140_000_000), limit("the container", 200_000_000)));
        let found = files("300000000\n", "max\n", "600000000\n");
        assert_eq!((found.free, found.limit), (Some(100_000_000), limit("the container", 600_000_000)));
        let found = files("50000000\n", "max\n", "max\n");
        assert_eq!((found.free, found.limit), (Some(0), limit("the container", 50_000_000)));
    }

    #[test]
    fn groups_of_version_1_are_found_by_their_controller() {
        let files = |path: &'static str, folder: &str, bytes: &'static str| {
            memory(&[
                ("/proc/self/cgroup", path),
                ("/proc/self/mountinfo", MOUNT_V1),
                (&format!("{folder}/memory.limit_in_bytes"), bytes),
                (&format!("{folder}/memory.usage_in_bytes"), "120000000\n"),
                (
                    &format!("{folder}/memory.stat"),
                    "inactive_file 1\ntotal_inactive_file 20000000\ntotal_active_file 0\n",
                ),
            ])
        };
        let wanted = (Some(50_000_000), limit("the container", 150_000_000));
        let root = "/sys/fs/cgroup/memory";
        // The path of the machine, that of a namespace, and one outside of the namespace.
        for path in
            ["11:memory:/docker/ab12\n", "4:cpu,cpuacct:/x\n3:memory:/\n", "4:memory,hugetlb:/../other\n"]
        {
            let found = files(path, root, "150000000\n");
            assert_eq!((found.free, found.limit), wanted, "{path}");
        }
        let found = files("11:memory:/docker/ab12/job\n", "/sys/fs/cgroup/memory/job", "150000000\n");
        assert_eq!((found.free, found.limit), wanted);
        let unlimited = files("11:memory:/docker/ab12\n", root, "9223372036854771712\n");
        assert_eq!((unlimited.free, unlimited.limit), (Some(23_991_548 * 1024), None));
        let other = files("11:cpu:/docker/ab12\n", root, "150000000\n");
        assert_eq!(other.limit, None);
    }

    #[test]
    fn limits_of_the_process_count() {
        let files = |address, data| {
            let limits = format!(
                "Max data size  {data}  unlimited  bytes\nMax address space  {address}  1000  bytes\n"
            );
            memory(&[("/proc/self/limits", &limits)])
        };
        let found = files("300000000", "unlimited");
        assert_eq!(
            (found.free, found.limit),
            (Some(300_000_000 - 110_000 * 1024), limit("`ulimit -v`", 300_000_000))
        );
        let found = files("300000000", "100000000");
        assert_eq!(
            (found.free, found.limit),
            (Some(100_000_000 - 50_000 * 1024), limit("`ulimit -d`", 100_000_000))
        );
        assert_eq!(files("1000", "unlimited").free, Some(0));
    }
}
