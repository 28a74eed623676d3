use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{self, Pty};

/// How long anything may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);

/// A terminal with a program in it, and somebody who reads and types.
pub struct Terminal {
    ours: Option<Arc<Pty>>,
    /// Kept open, so that it can be looked at when the program has ended.
    theirs: OwnedFd,
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    /// How much of it has been looked at.
    seen: usize,
}

impl Terminal {
    /// Starts a command with nothing in its environment but PATH and TERM, as the leader of a
    /// session in a new terminal of 30 rows and 100 columns.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(command: &Command) -> Self {
        let mut terminal = Self::start_unread(command);
        terminal.read();
        terminal
    }

    /// The same with nobody who reads.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start_unread(command: &Command) -> Self {
        let (ours, theirs) = blocking::open().unwrap();
        ours.resize(Size::new(30, 100)).unwrap();
        let kept = theirs.as_fd().try_clone_to_owned().unwrap();
        let child = blocking::Command::new(command.get_program())
            .args(command.get_args())
            .current_dir("/")
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("TERM", "vt100")
            .spawn(theirs)
            .unwrap();
        Self {
            ours: Some(Arc::new(ours)),
            theirs: kept,
            child,
            shown: Arc::default(),
            seen: 0,
        }
    }

    /// Begins to read.
    ///
    /// # Panics
    /// If it has hung up.
    pub fn read(&mut self) {
        let ours = self.ours.as_ref().unwrap().clone();
        let shown = self.shown.clone();
        std::thread::spawn(move || {
            let mut piece = [0; 65536];
            while let Ok(got @ 1..) = (&*ours).read(&mut piece) {
                shown.lock().unwrap().extend_from_slice(&piece[..got]);
            }
        });
    }

    /// The program's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where the terminal is on the host.
    ///
    /// # Panics
    /// If that is not known.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        fs::read_link(format!("/proc/self/fd/{}", self.theirs.as_raw_fd())).unwrap()
    }

    /// Types.
    ///
    /// # Panics
    /// If it has hung up.
    pub fn keys(&self, keys: &str) {
        let mut ours = &**self.ours.as_ref().unwrap();
        ours.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` is shown, after what was waited for before. Returns what came before it.
    ///
    /// # Panics
    /// If it is not shown in time.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let begin = Instant::now();
        loop {
            {
                let shown = self.shown.lock().unwrap();
                let rest = &shown[self.seen..];
                if let Some(at) = rest.windows(text.len()).position(|w| w == text.as_bytes()) {
                    let before = String::from_utf8_lossy(&rest[..at]).into_owned();
                    self.seen += at + text.len();
                    return before;
                }
                let shown = String::from_utf8_lossy(&shown);
                assert!(begin.elapsed() < PATIENCE, "no {text:?} in {shown}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Types a line and waits for what it leads to.
    ///
    /// # Panics
    /// As [`expect`](Self::expect).
    #[track_caller]
    pub fn line(&mut self, line: &str, answer: &str) -> String {
        self.keys(&format!("{line}\n"));
        self.expect(answer)
    }

    /// Everything that was shown so far.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn shown(&self) -> Vec<u8> {
        self.shown.lock().unwrap().clone()
    }

    /// Gives it another size.
    ///
    /// # Panics
    /// If it has hung up.
    pub fn resize(&self, rows: u16, columns: u16) {
        let ours = self.ours.as_ref().unwrap();
        ours.resize(Size::new(rows, columns)).unwrap();
    }

    /// Its modes, as stty(1) tells them.
    ///
    /// # Panics
    /// If there is no stty.
    #[must_use]
    pub fn modes(&self) -> String {
        let line = Command::new("stty").arg("-aF").arg(self.path()).output();
        let line = line.unwrap();
        assert!(line.status.success(), "{line:?}");
        String::from_utf8(line.stdout).unwrap()
    }

    /// Sends the program a signal, such as `TERM`.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let done = Command::new("kill").args(["-s", name, &id]).status();
        assert!(done.unwrap().success(), "{name}");
    }

    /// Waits for the end of the program.
    ///
    /// # Panics
    /// If it does not end in time.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            let shown = self.shown();
            let shown = String::from_utf8_lossy(&shown);
            assert!(begin.elapsed() < PATIENCE, "it goes on: {shown}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Pulls the plug of a terminal that nobody reads.
    pub fn hang_up(&mut self) {
        self.ours = None;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that failed leaves nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
