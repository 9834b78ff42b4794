//! CPU time of the processes that take part, from /proc.
//!
//! A component is the process that listens on its port, its children, and what its dead children have used: the kernel
//! adds that to their parent once it has waited for them, so that a Postgres backend that ends is not lost.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use millrace_testkit::Stack;

/// The unit of `/proc/<pid>/stat`: USER_HZ is 100 on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// A socket that listens, in /proc/net/tcp.
const LISTENING: &str = "0A";

/// Seconds of CPU by component.
pub(crate) type Seconds = BTreeMap<&'static str, f64>;

/// The share of one processor that each component has used over a number of seconds, for people.
pub(crate) fn told(used: &Seconds, over: f64) -> String {
    let share = |(name, seconds): (&&str, &f64)| format!("{name} {:.1} %", seconds / over * 100.0);
    used.iter().map(share).collect::<Vec<_>>().join(", ")
}

/// The components whose CPU time counts.
pub(crate) struct Components {
    roots: Vec<(&'static str, u32)>,
    /// The measurement's own backends in Postgres do not count.
    except: Vec<u32>,
}

impl Components {
    /// Finds the stack's processes. What runs on another machine is left out.
    pub(crate) fn find(stack: &Stack) -> Self {
        let addresses = [
            ("postgres", stack.write_database_url()),
            ("elasticsearch", stack.elasticsearch_url()),
            ("kafka", stack.kafka_brokers()),
            ("connect", stack.connect_url()),
        ];
        let find = |(name, address): (&'static str, &str)| Some((name, listener(Stack::port(address)?)?));
        Self { roots: addresses.into_iter().filter_map(find).collect(), except: Vec::new() }
    }

    /// With one more process: of a component of its own, or of one that has others.
    pub(crate) fn with(mut self, name: &'static str, pid: u32) -> Self {
        self.roots.push((name, pid));
        self
    }

    /// Without a backend of Postgres.
    pub(crate) fn without(mut self, backend: u32) -> Self {
        self.except.push(backend);
        self
    }

    /// What each component has used since it started.
    pub(crate) fn used(&self) -> Result<Seconds> {
        let processes = processes();
        let used = |root: u32| -> f64 {
            let members = family(&processes, root);
            let counted = members.iter().filter(|pid| !self.except.contains(pid));
            counted.filter_map(|pid| processes.get(pid)).map(|process| process.seconds).sum()
        };
        let mut seconds = Seconds::new();
        for (name, root) in &self.roots {
            *seconds.entry(name).or_default() += used(*root);
        }
        Ok(seconds)
    }
}

/// The CPU time between two moments.
pub(crate) fn between(before: &Seconds, after: &Seconds) -> Seconds {
    let used = |(name, after): (&&'static str, &f64)| Some((*name, after - before.get(name)?));
    after.iter().filter_map(used).collect()
}

#[derive(Debug, PartialEq)]
struct Process {
    parent: u32,
    /// Its own time and that of children that it has waited for.
    seconds: f64,
}

fn processes() -> BTreeMap<u32, Process> {
    let read = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parse(&stat)?))
    };
    pids().filter_map(read).collect()
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The name in parentheses may hold spaces; the fields after it are counted from the state on.
fn parse(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    let ticks = number(11)? + number(12)? + number(13)? + number(14)?;
    let parent = u32::try_from(number(1)?).ok()?;
    Some(Process { parent, seconds: ticks as f64 / TICKS_PER_SECOND })
}

fn family(processes: &BTreeMap<u32, Process>, root: u32) -> HashSet<u32> {
    let mut members = HashSet::from([root]);
    loop {
        let children = processes.iter().filter(|(_, process)| members.contains(&process.parent));
        let new: Vec<u32> = children.map(|(pid, _)| *pid).filter(|pid| !members.contains(pid)).collect();
        if new.is_empty() {
            return members;
        }
        members.extend(new);
    }
}

/// The process that listens on a port of this machine; the parent, when children have inherited the socket.
pub(crate) fn listener(port: u16) -> Option<u32> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|line| listening(line, port)).collect::<Vec<_>>())
        .collect();
    pids().filter(|pid| holds(*pid, &sockets)).min()
}

/// The link that a file descriptor of a listening socket shows.
fn listening(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let local = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
    let inode = fields.get(9)?;
    (local == port && *fields.get(3)? == LISTENING).then(|| format!("socket:[{inode}]"))
}

fn holds(pid: u32, sockets: &[String]) -> bool {
    let descriptors = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"));
    let links = descriptors.into_iter().flatten().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    links.into_iter().any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
}

/// The share of the machine that was idle between two looks at /proc/stat.
pub(crate) fn idle_share(before: &str, after: &str) -> Option<f64> {
    let (idle_before, all_before) = machine_ticks(before)?;
    let (idle_after, all_after) = machine_ticks(after)?;
    Some((idle_after - idle_before) as f64 / (all_after - all_before).max(1) as f64)
}

fn machine_ticks(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<u64> =
        stat.lines().next()?.split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    Some((*fields.get(3)?, fields.iter().take(8).sum()))
}

/// /proc/stat.
pub(crate) fn machine_stat() -> Result<String> {
    fs::read_to_string("/proc/stat").context("/proc/stat")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_counts_with_the_children_that_it_has_waited_for() {
        let stat = "7 (a (b) c) S 3 7 7 0 -1 4194304 1 2 3 4 100 50 20 30 20 0 1 0 5 6 7";
        assert_eq!(parse(stat), Some(Process { parent: 3, seconds: 2.0 }));
    }

    #[test]
    fn a_family_is_a_process_and_its_descendants() {
        let process = |parent| Process { parent, seconds: 1.0 };
        let processes = BTreeMap::from([(1, process(0)), (2, process(1)), (3, process(2)), (4, process(1))]);
        assert_eq!(family(&processes, 2), HashSet::from([2, 3]));
    }

    #[test]
    fn a_listening_socket_is_told_from_a_connected_one() {
        let line = |state| {
            format!(
                " 0: 0100007F:3C48 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 99 0 4711 1"
            )
        };
        assert_eq!(listening(&line("0A"), 15_432), Some("socket:[4711]".to_owned()));
        assert_eq!(listening(&line("01"), 15_432), None);
    }
}
