//! What a process uses, from /proc.

use std::fs;

/// Resident memory of a process, in bytes.
pub fn resident_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process's status is readable");
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a live process has a VmRSS");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("VmRSS is a number of kB");
    kibibytes << 10
}

/// The number of open file descriptors of a process.
pub fn open_descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process's descriptors are readable").count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let pid = std::process::id();
        assert!(resident_memory(pid) > 100 << 10);
        assert!(open_descriptors(pid) >= 3);
    }
}
