use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The program under test: what RUN_SANDBOX says, or the one that cargo put beside this test.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn run_sandbox() -> PathBuf {
    if let Some(program) = std::env::var_os("RUN_SANDBOX") {
        return program.into();
    }
    let this = std::env::current_exe().unwrap();
    let program = this.ancestors().nth(2).unwrap().join("run-sandbox");
    assert!(
        program.exists(),
        "run `cargo build -p run-sandbox`, or set RUN_SANDBOX"
    );
    program
}

/// A command line of run-sandbox being written.
#[derive(Debug, Clone, Default)]
pub struct RunSandbox {
    options: Vec<OsString>,
    root: PathBuf,
    command: Vec<OsString>,
    input: Vec<u8>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Done {
    /// How run-sandbox ended.
    pub status: ExitStatus,
    /// What came out, lossily.
    pub out: String,
    /// What came out on the standard error.
    pub err: String,
    /// What came out, to the byte.
    pub bytes: Vec<u8>,
}

impl RunSandbox {
    /// In this root.
    #[must_use]
    pub fn new(root: impl AsRef<Path>) -> Self {
        Self {
            root: root.as_ref().to_owned(),
            ..Self::default()
        }
    }

    /// Options, split at white space.
    #[must_use]
    pub fn options(mut self, options: &str) -> Self {
        self.options
            .extend(options.split_whitespace().map(OsString::from));
        self
    }

    /// An option with its values, as they are.
    #[must_use]
    pub fn option(mut self, name: &str, values: &[&dyn AsRef<OsStr>]) -> Self {
        self.options.push(name.into());
        self.options
            .extend(values.iter().map(|v| v.as_ref().to_owned()));
        self
    }

    /// The command and its arguments.
    #[must_use]
    pub fn command(mut self, command: &[&dyn AsRef<OsStr>]) -> Self {
        self.command = command.iter().map(|a| a.as_ref().to_owned()).collect();
        self
    }

    /// What the command reads.
    #[must_use]
    pub fn input(mut self, bytes: Vec<u8>) -> Self {
        self.input = bytes;
        self
    }

    /// The command line.
    #[must_use]
    pub fn line(&self) -> Command {
        let mut line = Command::new(run_sandbox());
        // The checkout may be in a place of the host that is hidden.
        line.current_dir("/");
        line.args(&self.options).arg(&self.root);
        if !self.command.is_empty() {
            line.arg("--").args(&self.command);
        }
        line
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If run-sandbox cannot be started.
    #[must_use]
    pub fn run(self) -> Done {
        let mut child = self
            .line()
            .stdin(if self.input.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let input = self.input;
        // While we read: neither side may wait for the other. The command need not read it all.
        let writer = std::thread::spawn(move || stdin.map(|mut s| s.write_all(&input).is_ok()));
        let output = child.wait_with_output().unwrap();
        let _ = writer.join();
        Done {
            status: output.status,
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout,
        }
    }

    /// Runs a script by `sh -c` to its end.
    #[must_use]
    pub fn sh(self, script: &str) -> Done {
        self.command(&[&"sh", &"-c", &script]).run()
    }

    /// Starts a script, with pipes for its output.
    ///
    /// # Panics
    /// If run-sandbox cannot be started.
    #[must_use]
    pub fn start_sh(self, script: &str) -> Child {
        self.command(&[&"sh", &"-c", &script])
            .line()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap()
    }
}

impl Done {
    /// What came out of a run that succeeded, without the white space around it.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    #[must_use]
    pub fn good(&self) -> &str {
        assert!(self.status.success(), "{self:#?}");
        self.out.trim()
    }

    /// Checks that the sandbox was refused with a message that has all of these words.
    ///
    /// # Panics
    /// If it was not.
    #[track_caller]
    pub fn refused(&self, words: &[&str]) {
        assert_eq!(self.status.code(), Some(125), "{self:#?}");
        assert!(self.err.starts_with("run-sandbox: "), "{self:#?}");
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in {self:#?}");
        }
    }
}
