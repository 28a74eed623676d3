//! `run-sandbox --session` and `--in`: one sandbox for the commands of many processes.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use sandboxlib_tests::watch::{in_pid_namespace, signal, within};
use sandboxlib_tests::{TinyRoot, install, run_sandbox};
use serde_json::{Value, json};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(30);

/// A session that is served, and ended with this.
struct Served {
    server: Child,
    dir: TempDir,
    _root: Option<TinyRoot>,
}

impl Served {
    fn new(options: &[&str]) -> Option<Self> {
        let root = TinyRoot::new()?;
        let dir = tempfile::tempdir().unwrap();
        let server = serve(&dir.path().join("s"), options, root.path());
        Some(Self {
            server,
            dir,
            _root: Some(root),
        })
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    fn client(&self, options: &[&str], command: &[&str]) -> Command {
        let mut line = Command::new(run_sandbox());
        line.current_dir("/").arg("--in").arg(self.socket());
        line.args(options).arg("--").args(command);
        line.stdin(Stdio::null());
        line
    }

    fn run(&self, options: &[&str], command: &[&str]) -> Output {
        self.client(options, command).output().unwrap()
    }

    fn sh(&self, script: &str) -> Output {
        self.run(&[], &["sh", "-c", script])
    }

    /// Starts a script, and waits until it has said its first line.
    fn start(&self, options: &[&str], script: &str) -> Child {
        let mut client = self
            .client(options, &["sh", "-c", script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut byte = [0];
        let out = client.stdout.as_mut().unwrap();
        while byte != *b"\n" {
            out.read_exact(&mut byte).unwrap();
        }
        client
    }

    fn is_fine(&self) {
        assert_eq!(text(&self.sh("echo fine").stdout), "fine\n");
    }

    /// The process ids namespace of the sandbox.
    fn namespace(&self) -> String {
        text(&self.sh("readlink /proc/self/ns/pid").stdout)
            .trim()
            .to_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn serve(socket: &Path, options: &[&str], root: &Path) -> Child {
    let mut server = Command::new(run_sandbox())
        .current_dir("/")
        .arg("--session")
        .arg(socket)
        .args(options)
        .arg(root)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A stale one may be there, but cannot be connected to.
    let ready = within(LONG, || {
        assert_eq!(server.try_wait().unwrap(), None, "the server has ended");
        UnixStream::connect(socket).ok()
    });
    assert!(ready.is_some());
    server
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("run-sandbox itself was killed")
}

/// Waits for a server that is to end, and gives its status and what it has said.
fn ended(server: &mut Child) -> (Option<i32>, String) {
    let status = within(LONG, || server.try_wait().unwrap()).expect("it goes on");
    let mut said = String::new();
    let mut stderr = server.stderr.take().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    (status.code(), said)
}

#[test]
fn a_build_of_forty_steps() {
    let Some(mut session) = Served::new(&["--tmpfs", "/home"]) else {
        return;
    };
    for step in 0..40 {
        let script = format!("cat /home/log >/dev/null 2>&1; echo {step} >>/home/log");
        assert_eq!(code(&session.sh(&script)), 0);
    }
    let log = text(&session.sh("cat /home/log").stdout);
    let expected: String = (0..40).map(|step| format!("{step}\n")).collect();
    assert_eq!(log, expected);
    // What one has left running, another can end.
    let pid = text(&session.sh("sleep 1000 >/dev/null 2>&1 & echo $!").stdout);
    assert_eq!(code(&session.run(&[], &["kill", "-9", pid.trim()])), 0);

    let namespace = session.namespace();
    let left = session.sh("(setsid sleep 1000 >/dev/null 2>&1 &)");
    assert_eq!(code(&left), 0);
    assert!(in_pid_namespace(&namespace).len() >= 2);
    signal(session.server.id(), "TERM");
    assert_eq!(ended(&mut session.server), (Some(143), String::new()));
    assert!(in_pid_namespace(&namespace).is_empty());
    // Nothing is left of the socket, nor beside it.
    assert_eq!(fs::read_dir(session.dir.path()).unwrap().count(), 0);
}

#[test]
fn side_by_side_each_has_its_own() {
    let Some(session) = Served::new(&["--env", "S=session", "--cwd", "/etc"]) else {
        return;
    };
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let session = &session;
            scope.spawn(move || {
                for i in 0..10 {
                    let variable = format!("A={thread} {i}");
                    let script = format!("read x; echo $A $x $S; pwd; echo err >&2; exit {i}");
                    let mut client = session
                        .client(&["--env", &variable], &["sh", "-c", &script])
                        .stdin(Stdio::piped())
                        .stdout(Stdio::piped())
                        .stderr(Stdio::piped())
                        .spawn()
                        .unwrap();
                    client.stdin.take().unwrap().write_all(b"in\n").unwrap();
                    let output = client.wait_with_output().unwrap();
                    let expected = format!("{thread} {i} in session\n/etc\n");
                    assert_eq!(text(&output.stdout), expected);
                    assert_eq!(text(&output.stderr), "err\n");
                    assert_eq!(code(&output), i);
                }
            });
        }
    });
    let own = session.run(
        &["--cwd", "/tmp", "--env", "S=own"],
        &["sh", "-c", "pwd; echo $S"],
    );
    assert_eq!(text(&own.stdout), "/tmp\nown\n");
}

/// What a plain run does, a command in a session does.
#[test]
fn statuses_and_messages_are_those_of_a_plain_run() {
    let Some(root) = TinyRoot::new() else { return };
    install(b"no program", &root.join("/bin/odd"), 0o755);
    install(b"#!/no/such\n", &root.join("/bin/script"), 0o755);
    install(b"", &root.join("/bin/plain"), 0o644);
    let dir = tempfile::tempdir().unwrap();
    let session = Served {
        server: serve(&dir.path().join("s"), &["--read-only"], root.path()),
        dir,
        _root: None,
    };
    let cases: [(&[&str], &[&str]); 12] = [
        (&[], &["sh", "-c", "exit 7"]),
        (&[], &["sh", "-c", "kill -15 $$"]),
        (&[], &["sh", "-c", "kill -9 $$"]),
        (&[], &["no-such-command"]),
        (&[], &["/bin/plain"]),
        (&[], &["/bin/odd"]),
        (&[], &["/bin/script"]),
        (&["--cwd", "/no/such"], &["true"]),
        (&["--timeout", "200ms"], &["sleep", "100"]),
        (
            &["--timeout", "100ms", "--kill-after", "20s"],
            &[
                "sh",
                "-c",
                "trap 'exit 5' TERM; while :; do sleep 0.05; done",
            ],
        ),
        (
            &["--file-size", "1K"],
            &["dd", "if=/dev/zero", "of=/tmp/x", "bs=2000", "count=1"],
        ),
        (
            &["--output", "10"],
            &["sh", "-c", "while :; do echo y; done"],
        ),
    ];
    for (options, command) in cases {
        let inside = session.run(options, command);
        let mut plain = Command::new(run_sandbox());
        plain.current_dir("/").arg("--read-only").args(options);
        plain.arg(root.path()).arg("--").args(command);
        let plain = plain.stdin(Stdio::null()).output().unwrap();
        assert_eq!(
            code(&inside),
            code(&plain),
            "{command:?}: {inside:?} {plain:?}"
        );
        assert_eq!(text(&inside.stdout), text(&plain.stdout), "{command:?}");
        // What was killed differs, and nothing else.
        let plain = text(&plain.stderr).replace("everything in the sandbox", "the command");
        assert_eq!(text(&inside.stderr), plain, "{command:?}");
    }
    session.is_fine();
}

#[test]
fn limits_are_those_of_the_command_and_not_above_those_of_the_session() {
    let Some(session) = Served::new(&["--open-files", "50"]) else {
        return;
    };
    let files = |options: &[&str]| {
        let output = session.run(options, &["sh", "-c", "ulimit -n; ulimit -c"]);
        text(&output.stdout)
    };
    assert!(files(&[]).starts_with("50\n"));
    assert!(files(&["--open-files", "20"]).starts_with("20\n"));
    assert_eq!(files(&["--open-files", "90", "--core", "0"]), "50\n0\n");
}

#[test]
fn arguments_are_bytes() {
    let Some(session) = Served::new(&[]) else {
        return;
    };
    let odd = OsString::from_vec(b"a\xff\\x41\n\xc3\"".to_vec());
    let mut variable = OsString::from("V=");
    variable.push(&odd);
    let output = Command::new(run_sandbox())
        .args([OsStr::new("--in"), session.socket().as_os_str()])
        .args([OsStr::new("--env"), &variable, OsStr::new("--")])
        .args(["sh", "-c", "printf %s \"$1$V\"", "sh"])
        .arg(&odd)
        .output()
        .unwrap();
    let twice = [odd.clone().into_vec(), odd.into_vec()].concat();
    assert_eq!(output.stdout, twice, "{output:?}");
}

#[test]
fn signals_are_passed_on() {
    let Some(session) = Served::new(&[]) else {
        return;
    };
    for (name, number) in [("TERM", 15), ("INT", 2), ("USR1", 10)] {
        let script =
            format!("trap 'echo got; exit 4' {name}; echo ready; while :; do sleep 0.02; done");
        let client = session.start(&[], &script);
        signal(client.id(), name);
        let output = client.wait_with_output().unwrap();
        assert_eq!(
            (code(&output), &*text(&output.stdout)),
            (4, "got\n"),
            "{name}"
        );
        let client = session.start(&[], "echo ready; exec sleep 1000");
        signal(client.id(), name);
        assert_eq!(code(&client.wait_with_output().unwrap()), 128 + number);
    }
    session.is_fine();
}

#[test]
fn with_the_client_its_command_ends() {
    let Some(session) = Served::new(&[]) else {
        return;
    };
    let mut client = session.start(&[], "trap '' TERM HUP; echo ready; sleep 1234; true");
    let sleeps = || text(&session.sh("ps -o args | grep -c '^sleep 1234'").stdout);
    assert_eq!(sleeps(), "1\n");
    client.kill().unwrap();
    client.wait().unwrap();
    assert!(within(LONG, || (sleeps() == "0\n").then_some(())).is_some());
    session.is_fine();
}

#[test]
fn with_the_server_everything_ends_and_clients_say_so() {
    for how in ["KILL", "TERM", "HUP"] {
        let Some(mut session) = Served::new(&[]) else {
            return;
        };
        let namespace = session.namespace();
        let dir = tempfile::tempdir().unwrap();
        let report = dir.path().join("report");
        let options = ["-v", "--report", report.to_str().unwrap()];
        let mut client = session.start(&options, "trap '' TERM HUP; echo ready; sleep 1234; true");
        // Until the client has heard that its command runs, it cannot know.
        let mut heard = [0; 21];
        client
            .stderr
            .as_mut()
            .unwrap()
            .read_exact(&mut heard)
            .unwrap();
        assert!(text(&heard).contains("backend"));
        signal(session.server.id(), how);
        let output = client.wait_with_output().unwrap();
        assert_eq!(code(&output), 137, "{how}: {output:?}");
        assert!(
            text(&output.stderr).contains("the session has ended"),
            "{output:?}"
        );
        let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
        assert_eq!(report["started"], "yes");
        assert_eq!(report["exit_code"], Value::Null);
        assert!(
            within(LONG, || in_pid_namespace(&namespace)
                .is_empty()
                .then_some(()))
            .is_some()
        );
        let _ = ended(&mut session.server);
        let late = session.run(&[], &["true"]);
        assert_eq!(code(&late), 125);
        assert!(
            text(&late.stderr).contains("run-sandbox --session"),
            "{late:?}"
        );
        // The socket of a killed server is stale, and replaced.
        assert_eq!(session.socket().exists(), how == "KILL");
        let root = session._root.as_ref().unwrap().path();
        session.server = serve(&session.socket(), &[], root);
        session.is_fine();
    }
}

#[test]
fn a_limit_of_the_whole_ends_it() {
    let Some(mut session) = Served::new(&["--cgroup", "none", "--cpu-time", "300ms"]) else {
        return;
    };
    let output = session.sh("while :; do :; done");
    assert_eq!(code(&output), 137, "{output:?}");
    let said = text(&output.stderr);
    assert!(
        said.contains("the session has ended") && said.contains("cpu-time"),
        "{said}"
    );
    let (status, said) = ended(&mut session.server);
    assert_eq!(status, Some(137));
    assert!(said.contains("the limit of cpu-time was reached"), "{said}");
    assert!(!session.socket().exists());
}

#[test]
fn a_place_that_is_taken_is_refused() {
    let Some(session) = Served::new(&[]) else {
        return;
    };
    let second = |place: &Path| {
        let mut line = Command::new(run_sandbox());
        line.current_dir("/").arg("--session").arg(place).arg("/");
        let output = line.stdin(Stdio::null()).output().unwrap();
        assert_eq!(code(&output), 125);
        text(&output.stderr)
    };
    assert!(second(&session.socket()).contains("served on"));
    let file = session.dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert!(second(&file).contains("no socket"));
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    session.is_fine();
}

#[test]
fn options_that_make_no_sense_are_refused_by_name() {
    let Some(session) = Served::new(&[]) else {
        return;
    };
    let refused = |options: &[&str], words: &[&str]| {
        let output = session.run(options, &["true"]);
        let said = text(&output.stderr);
        assert_eq!(code(&output), 125, "{said}");
        for word in words {
            assert!(said.contains(word), "{said}");
        }
    };
    refused(&["--bind", "/etc", "/x"], &["--bind", "--session"]);
    refused(&["--network", "shared"], &["--network", "--session"]);
    refused(&["--memory", "1G"], &["--memory", "all processes"]);
    refused(&["--session", "/x"], &["either"]);
    let plain = |words: &[&str]| {
        let output = Command::new(run_sandbox()).args(words).output().unwrap();
        assert_eq!(code(&output), 125);
        text(&output.stderr)
    };
    assert!(plain(&["--session", "/no/such/s", "/", "true"]).contains("no COMMAND"));
    assert!(plain(&["--session", "/no/such/s", "--explain", "/"]).contains("--explain"));
    assert!(plain(&["--session", "/no/such/s", "--output", "1", "/"]).contains("--in"));
    assert!(plain(&["--session", "/no/such/s", "/"]).contains("No such file"));
}

#[test]
fn it_is_for_its_owner_alone() {
    let Some(session) = Served::new(&[]) else {
        return;
    };
    let mode = fs::symlink_metadata(session.socket())
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        // To be somebody else takes root, who runs these tests too.
        return;
    }
    // Where somebody else can look up the socket, and the program.
    let all = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    all(session.dir.path(), 0o755).unwrap();
    let program = session.dir.path().join("run-sandbox");
    install(&fs::read(run_sandbox()).unwrap(), &program, 0o755);
    let other = |words: &[&OsStr]| {
        let mut line = Command::new("setpriv");
        line.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        line.current_dir("/").arg(&program).args(words);
        line.stdin(Stdio::null()).stderr(Stdio::piped());
        line
    };
    let socket = session.socket();
    let words = ["--in".as_ref(), socket.as_os_str(), "true".as_ref()];
    let denied = other(&words).output().unwrap();
    assert_eq!(code(&denied), 125);
    assert!(
        text(&denied.stderr).contains("Permission denied"),
        "{denied:?}"
    );
    // The permissions of the socket are not the only wall.
    all(&socket, 0o666).unwrap();
    let denied = other(&words).output().unwrap();
    assert_eq!(code(&denied), 125);
    assert!(
        text(&denied.stderr).contains("user 0 is at the other end"),
        "{denied:?}"
    );
    all(&socket, 0o600).unwrap();
    session.is_fine();

    // And a server has its own: root, whom no permissions stop, is nobody to it.
    let theirs = tempfile::tempdir().unwrap();
    all(theirs.path(), 0o777).unwrap();
    let socket = theirs.path().join("s");
    let words = ["--session".as_ref(), socket.as_os_str(), "/".as_ref()];
    let mut server = other(&words).spawn().unwrap();
    let mut stream = within(LONG, || {
        assert_eq!(server.try_wait().unwrap(), None);
        UnixStream::connect(&socket).ok()
    })
    .unwrap();
    let mut said = Vec::new();
    // Nothing that was sent to it is lost when it hangs up.
    stream.read_to_end(&mut said).unwrap();
    let said = text(&said);
    signal(server.id(), "TERM");
    assert_eq!(ended(&mut server).0, Some(143));
    assert!(said.contains("user 0 is at the other end"), "{said}");
}

#[test]
fn clients_that_talk_nonsense_do_no_harm() {
    let Some(session) = Served::new(&[]) else {
        return;
    };
    let connect = || UnixStream::connect(session.socket()).unwrap();
    // Some that say nothing, or half of it, and stay.
    let mut idle: Vec<UnixStream> = (0..20).map(|_| connect()).collect();
    for (i, stream) in idle.iter_mut().enumerate() {
        stream.write_all(&[200, 0, 0, 0, b'{'][..i % 6]).unwrap();
    }
    session.is_fine();
    let framed = |text: &str| {
        let mut bytes = u32::try_from(text.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes
    };
    let request = json!({
        "version": 1, "command": ["true"], "env": [], "cwd": null, "callers": null,
        "fds": [0, 1, 2], "wall": null, "kill_after": null, "file_size": null,
        "open_files": null, "stack": null, "core": null,
    });
    for (bytes, word) in [
        (vec![0xff; 4], "are allowed"),
        (vec![0; 4], "empty"),
        (framed("{}"), "version"),
        (framed("garbage"), "without sense"),
        (framed("{\"version\": 99}"), "version 99"),
        (framed(&request.to_string()), "0 descriptors came"),
    ] {
        let mut stream = connect();
        stream.write_all(&bytes).unwrap();
        let mut said = Vec::new();
        // It hangs up when it has said why.
        let _ = stream.read_to_end(&mut said);
        let said = text(&said);
        assert!(
            said.contains("Failed") && said.contains(word),
            "{word}: {said}"
        );
    }
    let threads = || {
        let tasks = format!("/proc/{}/task", session.server.id());
        fs::read_dir(tasks).unwrap().count()
    };
    assert!(threads() > 20);
    session.is_fine();
    // They are not waited for, and no thread is left.
    let began = Instant::now();
    assert!(
        within(LONG, || (threads() <= 2).then_some(())).is_some(),
        "{}",
        threads()
    );
    assert!(began.elapsed() < LONG);
    session.is_fine();
}

#[test]
fn more_clients_than_it_looks_after_are_told() {
    let Some(session) = Served::new(&[]) else {
        return;
    };
    let idle: Vec<UnixStream> = (0..288)
        .map(|_| UnixStream::connect(session.socket()).unwrap())
        .collect();
    let output = session.run(&[], &["true"]);
    assert_eq!(code(&output), 125, "{output:?}");
    assert!(
        text(&output.stderr).contains("as many clients"),
        "{output:?}"
    );
    drop(idle);
    let room = || (code(&session.run(&[], &["true"])) == 0).then_some(());
    assert!(within(LONG, room).is_some());
}

#[test]
fn a_report_is_written_of_each_command_and_of_the_whole() {
    let Some(root) = TinyRoot::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let options = ["--report", whole.to_str().unwrap()];
    let mut session = Served {
        server: serve(&dir.path().join("s"), &options, root.path()),
        dir,
        _root: None,
    };
    let file = session.dir.path().join("report");
    let report = |format: &str, command: &[&str]| {
        let options = [
            "--report",
            file.to_str().unwrap(),
            "--report-format",
            format,
        ];
        let _ = session.run(&[&options[..], &["--timeout", "20s"]].concat(), command);
        fs::read_to_string(&file).unwrap()
    };
    let json =
        |command: &[&str]| -> Value { serde_json::from_str(&report("json", command)).unwrap() };
    let done = json(&["sh", "-c", "exit 3"]);
    assert_eq!(
        (&done["backend"], &done["exit_code"]),
        (&json!("userns"), &json!(3))
    );
    assert_eq!(
        (&done["kill_scope"], &done["error"]),
        (&json!("process-group"), &Value::Null)
    );
    assert_eq!(
        done["limits"],
        json!([{"limit": "wall", "by": "supervisor"}])
    );
    assert!(
        done["enforced"]
            .as_array()
            .unwrap()
            .contains(&json!("network")),
        "{done:#}"
    );
    let failed = json(&["no-such"]);
    assert_eq!(
        (&failed["started"], &failed["error"]["errno"]),
        (&json!("no"), &json!(2))
    );
    assert_eq!(failed["backend"], "userns");
    let lines = report("isolate", &["sh", "-c", "kill -11 $$"]);
    assert!(
        lines.contains("exitsig:11\n") && lines.contains("status:SG\n"),
        "{lines}"
    );

    signal(session.server.id(), "INT");
    assert_eq!(ended(&mut session.server).0, Some(130));
    let whole: Value = serde_json::from_slice(&fs::read(whole).unwrap()).unwrap();
    assert_eq!(whole["kill_scope"], "everything");
    assert!(whole["wall_seconds"].as_f64().unwrap() > 0.0);
}

/// With the host's root a command runs where its client is, as a plain run does.
#[test]
fn the_working_directory_is_the_clients_where_it_is_seen() {
    if TinyRoot::new().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let session = Served {
        server: serve(&dir.path().join("s"), &[], Path::new("/")),
        dir,
        _root: None,
    };
    let from = |place: &str| {
        let mut client = session.client(&[], &["pwd"]);
        client.current_dir(place).output().unwrap()
    };
    assert_eq!(text(&from("/usr/bin").stdout), "/usr/bin\n");
    let hidden = from("/var/tmp");
    assert_eq!(code(&hidden), 125);
    assert!(text(&hidden.stderr).contains("is hidden"), "{hidden:?}");
    assert_eq!(hidden.status.signal(), None);
}
