//! A PostgreSQL server of the tests' own, from the binaries that Debian installs: in a directory of its own, on
//! a socket there, gone when the test process is.

#![allow(dead_code)] // each test crate uses its part

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub struct Server {
    directory: PathBuf,
    binaries: PathBuf,
    port: u16,
    /// What is added to its command line.
    options: String,
    /// Stops the server and removes the directory when its input ends, however this process ends.
    keeper: Child,
}

/// The server that the cases of one test program share.
pub fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

fn binaries() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.map(|v| v.unwrap().path().join("bin")).collect())
        .unwrap_or_default();
    found.sort();
    found.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    found.into_iter().find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists()).expect(
        "PostgreSQL is not installed, and the store is tested on it: apt-get install postgresql \
         (scripts/test does it)",
    )
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The server refuses to run as root.
fn command(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn children(of: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Processes that are stopped where they are; they go on when this is dropped.
pub struct Hung(Vec<u32>);

impl Hung {
    pub fn of(processes: Vec<u32>) -> Hung {
        let mut hung = Hung(Vec::new());
        hung.stop(processes);
        hung
    }

    fn stop(&mut self, processes: Vec<u32>) {
        for pid in processes {
            assert!(Command::new("kill").args(["-STOP", &pid.to_string()]).status().unwrap().success());
            self.0.push(pid);
        }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = Command::new("kill").args(["-CONT", &pid.to_string()]).status();
        }
    }
}

impl Server {
    pub fn start() -> Server {
        Server::start_with(5432, |_| String::new())
    }

    /// With a port that names its socket, and options made when its directory is there.
    pub fn start_with(port: u16, options: impl FnOnce(&Path) -> String) -> Server {
        let binaries = binaries();
        let directory = tempfile::tempdir().unwrap().keep();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&directory));
        }
        let data = directory.join("data");
        run(command(&binaries.join("initdb"))
            .args(["--no-sync", "--auth=trust", "--username=posp", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data));
        let script = "read -r _; \"$0\" stop -m immediate -D \"$1/data\"; rm -rf \"$1\"";
        let keeper = command(Path::new("/bin/sh"))
            .args(["-c", script])
            .arg(binaries.join("pg_ctl"))
            .arg(&directory)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let options = options(&directory);
        let server = Server { directory, binaries, port, options, keeper };
        server.up();
        server
    }

    /// Starts the server; returns when it takes connections.
    pub fn up(&self) {
        let options =
            format!("-k {} -c listen_addresses='' -c max_connections=200", self.directory.display())
                + " "
                + &self.options;
        let status = command(&self.binaries.join("pg_ctl"))
            .args(["start", "-w", "-o", &options, "-l"])
            .arg(self.directory.join("log"))
            .arg("-D")
            .arg(self.directory.join("data"))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{}", std::fs::read_to_string(self.directory.join("log")).unwrap());
    }

    /// Stops it as a power cut would, as far as the server can tell: no shutdown, no checkpoint.
    pub fn crash(&self) {
        run(command(&self.binaries.join("pg_ctl"))
            .args(["stop", "-m", "immediate", "-D"])
            .arg(self.directory.join("data"))
            .current_dir("/"));
    }

    /// The process that starts the server's others.
    fn first_process(&self) -> u32 {
        let file = std::fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap();
        file.lines().next().unwrap().trim().parse().unwrap()
    }

    /// Stops every process of the server where it is, connections left as they are, until the result is dropped.
    pub fn hang(&self) -> Hung {
        let first = self.first_process();
        // The first one first, so that it starts no others.
        let mut hung = Hung::of(vec![first]);
        hung.stop(children(first));
        hung
    }

    /// Kills every process of the server with SIGKILL; returns when they are gone.
    pub fn kill(&self) {
        let first = self.first_process();
        let mut all = vec![first];
        all.extend(children(first));
        // The first one first, so that it starts no others. Those that are gone already are as good.
        for pid in &all {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
        }
        let gone = |pid: &u32| match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            // A process without a parent that asks for it stays as a name only.
            Ok(stat) => stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')),
            Err(_) => true,
        };
        let begun = std::time::Instant::now();
        while !all.iter().all(gone) {
            assert!(begun.elapsed().as_secs() < 20, "the server's processes do not end");
            std::thread::sleep(std::time::Duration::from_millis(5)); // the next poll of the processes
        }
        // Its locks would count as held for as long as its name stays in the table of processes.
        for lock in ["data/postmaster.pid", ".s.PGSQL.5432.lock", ".s.PGSQL.5432"] {
            std::fs::remove_file(self.directory.join(lock)).unwrap();
        }
    }

    /// Writes a dump of a database into a file of ours.
    pub fn dump(&self, url: &str, file: &Path) {
        let to = std::fs::File::create(file).unwrap();
        let status = command(&self.binaries.join("pg_dump"))
            .args(["--format=custom", "--dbname", url])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(to)
            .status()
            .unwrap();
        assert!(status.success(), "pg_dump: {status}");
    }

    /// Fills a database from a dump.
    pub fn restore(&self, url: &str, file: &Path) {
        let from = std::fs::File::open(file).unwrap();
        let status = command(&self.binaries.join("pg_restore"))
            .args(["--exit-on-error", "--dbname", url])
            .current_dir("/")
            .stdin(from)
            .status()
            .unwrap();
        assert!(status.success(), "pg_restore: {status}");
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        let port = if self.port == 5432 { String::new() } else { format!("&port={}", self.port) };
        format!("postgres:///{database}?user=posp&host={}{port}", self.directory.display())
    }

    /// A new empty database.
    pub async fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("store_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.admin("postgres").await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        self.url(&name)
    }

    /// A connection beside the store's.
    pub async fn admin(&self, database: &str) -> tokio_postgres::Client {
        connect(&self.url(database)).await
    }
}

/// A file that only the server may read.
pub fn private(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    if is_root() {
        run(Command::new("chown").arg("postgres").arg(file));
    }
}

pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
