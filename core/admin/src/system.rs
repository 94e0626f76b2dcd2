//! The process and the machine: `envi`, sizes of folders, descriptors.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use palisade_wire::Zxid;

use crate::metric::{Sample, Value};

/// What tools see as the version: the protocol's, then ours, then a date in the form that they parse.
pub const VERSION: &str =
    concat!("3.9.5-palisade-", env!("CARGO_PKG_VERSION"), ", built on 2026-01-01 00:00 UTC");

/// Without a Java machine, there is nothing to say.
const NO_JAVA: &str = "<NA>";

/// The keys and values of `envi`, in Apache's order.
pub fn environment() -> Vec<(&'static str, String)> {
    let kernel = |name: &str| {
        let text = fs::read_to_string(Path::new("/proc/sys/kernel").join(name)).unwrap_or_default();
        text.trim().to_owned()
    };
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| NO_JAVA.to_owned());
    let folder = |path: std::io::Result<std::path::PathBuf>| {
        path.map_or_else(|_| NO_JAVA.to_owned(), |path| path.display().to_string())
    };
    let [total, free] = memory();
    let mut entries = vec![("zookeeper.version", VERSION.to_owned()), ("host.name", kernel("hostname"))];
    for key in ["java.version", "java.vendor", "java.home", "java.class.path", "java.library.path"] {
        entries.push((key, NO_JAVA.to_owned()));
    }
    entries.extend([
        ("java.io.tmpdir", std::env::temp_dir().display().to_string()),
        ("java.compiler", NO_JAVA.to_owned()),
        ("os.name", "Linux".to_owned()),
        ("os.arch", architecture().to_owned()),
        ("os.version", kernel("osrelease")),
        ("user.name", variable("USER")),
        ("user.home", variable("HOME")),
        ("user.dir", folder(std::env::current_dir())),
        ("os.memory.free", format!("{free}MB")),
        ("os.memory.max", format!("{total}MB")),
        ("os.memory.total", format!("{total}MB")),
    ]);
    entries
}

/// As Java names it.
const fn architecture() -> &'static str {
    match std::env::consts::ARCH.as_bytes() {
        b"x86_64" => "amd64",
        _ => std::env::consts::ARCH,
    }
}

/// The machine's memory, all and available, MB.
fn memory() -> [u64; 2] {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    ["MemTotal:", "MemAvailable:"].map(|key| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) / 1024
    })
}

/// Bytes of the files in a folder; what cannot be read counts as nothing.
pub fn folder_size(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = files.filter_map(|file| file.metadata().ok()).filter(fs::Metadata::is_file);
    sizes.map(|meta| meta.len()).sum()
}

/// A snapshot on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastSnapshot {
    /// The transaction in its name.
    pub zxid: Zxid,
    /// When it was last written, s since 1970.
    pub timestamp_s: u64,
}

/// The newest snapshot in a folder; zeros without one.
pub fn last_snapshot(folder: &Path) -> LastSnapshot {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let snapshots = files.filter_map(|file| {
        let name = file.file_name();
        let digits = name.to_str()?.strip_prefix("snapshot.")?.split('.').next()?;
        let zxid = Zxid(i64::from_str_radix(digits, 16).ok()?);
        let written = file.metadata().ok()?.modified().ok()?;
        let timestamp_s = written.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        Some(LastSnapshot { zxid, timestamp_s })
    });
    snapshots.max_by_key(|snapshot| snapshot.zxid).unwrap_or_default()
}

/// Descriptors that are open, and may be open; 0 for what the system does not tell.
pub fn descriptors() -> [u64; 2] {
    let open = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let max = line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
    [open, max]
}

/// Time since 1970, by the machine's clock.
pub fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Ticks of processor time in a second: what Linux tells programs, whatever its own clock does.
const TICKS: f64 = 100.0;

/// What Prometheus clients in every language tell of their process, Apache's too; nothing of what the system does not
/// tell.
pub fn process() -> Vec<Sample> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (stat, status, machine) = (read("/proc/self/stat"), read("/proc/self/status"), read("/proc/stat"));
    // The program's name, in parentheses, may hold anything.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| Some(fields.get(at)?.parse::<f64>().ok()? / TICKS);
    let number = |text: &str, key: &str| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
    };
    let kilobytes = |key: &str| Some(Value::Ratio(number(&status, key)? * 1024.0));
    let [open, max] = descriptors().map(|count| Value::Gauge(i64::try_from(count).unwrap_or(i64::MAX)));
    let cpu = ticks(11).zip(ticks(12)).map(|(user, system)| Value::Total(user + system));
    let start = number(&machine, "btime ").zip(ticks(19)).map(|(boot, since)| Value::Ratio(boot + since));
    let told = [
        ("process_cpu_seconds_total", "Processor time that was used, s.", cpu),
        ("process_start_time_seconds", "When the process began, s since 1970.", start),
        ("process_open_fds", "Descriptors that are open.", Some(open)),
        ("process_max_fds", "Descriptors that may be open.", Some(max)),
        ("process_virtual_memory_bytes", "Memory that is mapped, bytes.", kilobytes("VmSize:")),
        ("process_resident_memory_bytes", "Memory that is in use, bytes.", kilobytes("VmRSS:")),
    ];
    told.into_iter().filter_map(|(name, help, value)| Some(Sample::new(name, help, value?))).collect()
}

/// A moment as Java's `Date` prints it in UTC, such as `Sun Nov 22 06:01:09 UTC 2026`.
pub fn date(ms_since_1970: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = ms_since_1970 / 1000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!(
        "{} {} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize]
    )
}

/// Year, month from 0 and day from 1 of a day since 1970, in eras of 400 years that begin in March.
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    (era * 400 + year_of_era + (month < 2) as u64, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_look_like_java_s() {
        for (ms, text) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (951_782_400_000, "Tue Feb 29 00:00:00 UTC 2000"),
            (1_795_327_269_999, "Sun Nov 22 06:01:09 UTC 2026"),
            (4_107_542_399_000, "Sun Feb 28 23:59:59 UTC 2100"),
        ] {
            assert_eq!(date(ms), text);
        }
    }

    #[test]
    fn the_environment_has_apache_s_keys() {
        let keys: Vec<_> = environment().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), 18);
        assert_eq!((keys[0], keys[17]), ("zookeeper.version", "os.memory.total"));
    }

    #[test]
    fn this_process_began_in_the_past_and_has_memory() {
        let told = process();
        let number = |name: &str| match told.iter().find(|sample| sample.name == name).map(|s| &s.value) {
            Some(Value::Ratio(value) | Value::Total(value)) => *value,
            other => panic!("{name}: {other:?}"),
        };
        let now = wall_clock().as_secs_f64();
        let age = now - number("process_start_time_seconds");
        assert!((-2.0..100_000.0).contains(&age), "{age}");
        assert!(number("process_virtual_memory_bytes") >= number("process_resident_memory_bytes"));
        assert!(number("process_resident_memory_bytes") > 0.0 && number("process_cpu_seconds_total") >= 0.0);
        assert_eq!(told.len(), 6);
    }

    #[test]
    fn this_process_has_open_files_and_a_limit() {
        let [open, max] = descriptors();
        assert!(open > 0 && max >= open);
    }
}
