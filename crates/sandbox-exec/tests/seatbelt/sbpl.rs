//! A reader and evaluator for the part of Apple's sandbox language that profiles use.
//!
//! It is strict: an operation, filter or form that it does not know is a panic, so that a
//! profile cannot come to use what nobody has thought about.
//!
//! Of how rules count there are two readings. By the one, the last rule that matches counts,
//! and a rule about `file-read*` is a rule about each operation that this stands for. By the
//! other, the rules that name the operation itself are asked before those with a star. Apple
//! documents neither, and reports from users fit each in places. Every verdict is therefore
//! asked for in both, and has to be the same.

use std::collections::BTreeMap;
use std::path::Path;

/// A profile that was read.
#[derive(Debug)]
pub(crate) struct Sbpl {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    allow: bool,
    operations: Vec<String>,
    filters: Vec<Filter>,
}

#[derive(Debug)]
enum Filter {
    Literal(String),
    Subpath(String),
    RemoteSocket(Option<Box<Filter>>),
    LocalSocket,
    LocalIp,
    SameSandbox,
    GlobalName(String),
    SysctlName(String),
    UnixDomain,
}

/// What an operation is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum On<'a> {
    Nothing,
    File(&'a str),
    /// An address of this host, to bind to.
    LocalIp,
    /// An address anywhere, loopback included, to connect to.
    RemoteIp,
    /// A unix socket to connect to.
    RemoteSocket(&'a str),
    /// A unix socket to bind or listen at.
    LocalSocket,
    SameSandbox,
    OtherProcess,
    Service(&'a str),
    Sysctl(&'a str),
    SocketOfUnix,
    SocketOfIp,
}

/// The operations, each with those that a rule about it decides too.
const OPERATIONS: &[&str] = &[
    "default",
    "file-ioctl",
    "file-link",
    "file-map-executable",
    "file-read*",
    "file-read-data",
    "file-read-metadata",
    "file-read-xattr",
    "file-write*",
    "file-write-create",
    "file-write-data",
    "file-write-mode",
    "file-write-setugid",
    "file-write-unlink",
    "ipc-posix*",
    "ipc-posix-sem",
    "ipc-posix-shm",
    "ipc-sysv*",
    "ipc-sysv-msg",
    "ipc-sysv-sem",
    "ipc-sysv-shm",
    "mach-lookup",
    "network-bind",
    "network-inbound",
    "network-outbound",
    "process-exec",
    "process-fork",
    "process-info*",
    "process-info-pidinfo",
    "signal",
    "sysctl-read",
    "sysctl-write",
    "system-socket",
];

impl Sbpl {
    /// Reads the text with these parameters.
    pub(crate) fn read(text: &str, params: &BTreeMap<String, String>) -> Self {
        let mut forms = parse(text).into_iter();
        assert_eq!(forms.next(), Some(list(&["version", "1"])), "no version");
        let rules = forms.map(|form| rule(form, params)).collect();
        Self { rules }
    }

    /// Reads the arguments of sandbox-exec, as sandbox-exec does; what is left is the command.
    pub(crate) fn from_arguments(args: &[String]) -> (Self, Vec<String>) {
        let mut text = None;
        let mut params = BTreeMap::new();
        let mut rest = args.iter();
        while let Some(arg) = rest.clone().next().filter(|arg| arg.starts_with('-')) {
            rest.next();
            if arg == "--" {
                break;
            }
            if arg == "-p" {
                text = rest.next();
            } else if let Some(param) = arg.strip_prefix("-D") {
                let (name, value) = param.split_once('=').unwrap();
                assert!(params.insert(name.to_owned(), value.to_owned()).is_none());
            } else {
                panic!("unknown option {arg}");
            }
        }
        (Self::read(text.unwrap(), &params), rest.cloned().collect())
    }

    /// Whether `operation` is allowed, by both readings.
    pub(crate) fn allows(&self, operation: &str, on: On<'_>) -> bool {
        assert!(OPERATIONS.contains(&operation), "{operation} is unknown");
        let by_order = self.last(|named| covers(named, operation), on);
        let by_name = self
            .last(|named| named == operation, on)
            .or_else(|| self.last(|named| named.ends_with('*') && covers(named, operation), on))
            .or_else(|| self.last(|named| named == "default", on));
        assert_eq!(
            by_order, by_name,
            "{operation} of {on:?} depends on the reading"
        );
        by_order.unwrap()
    }

    fn last(&self, names: impl Fn(&str) -> bool, on: On<'_>) -> Option<bool> {
        self.rules
            .iter()
            .rev()
            .find(|rule| rule.operations.iter().any(|o| names(o)) && rule.matches(on))
            .map(|rule| rule.allow)
    }
}

fn covers(named: &str, operation: &str) -> bool {
    named == operation
        || named == "default"
        || named
            .strip_suffix('*')
            .is_some_and(|start| operation.starts_with(start))
}

impl Rule {
    fn matches(&self, on: On<'_>) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| filter.matches(on))
    }
}

impl Filter {
    fn matches(&self, on: On<'_>) -> bool {
        match (self, on) {
            (Self::Literal(wanted), On::File(path)) => wanted == path,
            (Self::Subpath(wanted), On::File(path)) => Path::new(path).starts_with(wanted),
            (Self::RemoteSocket(None), On::RemoteSocket(_))
            | (Self::LocalSocket, On::LocalSocket)
            | (Self::LocalIp, On::LocalIp)
            | (Self::SameSandbox, On::SameSandbox)
            | (Self::UnixDomain, On::SocketOfUnix) => true,
            (Self::RemoteSocket(Some(path)), On::RemoteSocket(at)) => path.matches(On::File(at)),
            (Self::GlobalName(wanted), On::Service(name))
            | (Self::SysctlName(wanted), On::Sysctl(name)) => wanted == name,
            _ => false,
        }
    }
}

fn rule(form: Form, params: &BTreeMap<String, String>) -> Rule {
    let Form::List(items) = form else {
        panic!("{form:?} is no rule");
    };
    let mut items = items.into_iter();
    let allow = match items.next().unwrap() {
        Form::Word(word) if word == "allow" => true,
        Form::Word(word) if word == "deny" => false,
        other => panic!("{other:?} is no action"),
    };
    let mut operations = Vec::new();
    let mut filters = Vec::new();
    for item in items {
        match item {
            Form::Word(word) => {
                assert!(filters.is_empty(), "{word} comes after a filter");
                assert!(OPERATIONS.contains(&word.as_str()), "{word} is unknown");
                operations.push(word);
            }
            Form::List(items) => filters.push(filter(&items, params)),
            Form::Text(text) => panic!("{text:?} is neither operation nor filter"),
        }
    }
    assert!(!operations.is_empty());
    Rule {
        allow,
        operations,
        filters,
    }
}

fn filter(items: &[Form], params: &BTreeMap<String, String>) -> Filter {
    let words: Vec<&str> = items
        .iter()
        .map(|item| match item {
            Form::Word(word) => word.as_str(),
            _ => "_",
        })
        .collect();
    match (words.as_slice(), items) {
        (["literal", _], [_, path]) => Filter::Literal(path_of(path, params)),
        (["subpath", _], [_, path]) => Filter::Subpath(path_of(path, params)),
        (["remote", "unix-socket"], _) => Filter::RemoteSocket(None),
        (["remote", "unix-socket", "_"], [_, _, Form::List(inner)]) => {
            Filter::RemoteSocket(Some(Box::new(filter(inner, params))))
        }
        (["local", "unix-socket"], _) => Filter::LocalSocket,
        (["local", "ip", "_"], [_, _, Form::Text(any)]) if any == "*:*" => Filter::LocalIp,
        (["target", "same-sandbox"], _) => Filter::SameSandbox,
        (["global-name", "_"], [_, Form::Text(name)]) => Filter::GlobalName(name.clone()),
        (["sysctl-name", "_"], [_, Form::Text(name)]) => Filter::SysctlName(name.clone()),
        (["socket-domain", "AF_UNIX"], _) => Filter::UnixDomain,
        _ => panic!("{items:?} is unknown"),
    }
}

/// A path is a parameter, or `/`, and has no slash at its end.
fn path_of(form: &Form, params: &BTreeMap<String, String>) -> String {
    let path = match form {
        Form::List(items) => match items.as_slice() {
            [Form::Word(word), Form::Text(name)] if word == "param" => params[name].clone(),
            _ => panic!("{form:?} is no parameter"),
        },
        Form::Text(text) if text == "/" => text.clone(),
        _ => panic!("{form:?} is no path"),
    };
    assert!(path == "/" || (path.starts_with('/') && !path.ends_with('/')));
    path
}

#[derive(Debug, PartialEq, Eq)]
enum Form {
    Word(String),
    Text(String),
    List(Vec<Form>),
}

fn list(words: &[&str]) -> Form {
    Form::List(words.iter().map(|w| Form::Word((*w).to_owned())).collect())
}

fn parse(text: &str) -> Vec<Form> {
    let mut open: Vec<Vec<Form>> = vec![Vec::new()];
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let form = match c {
            c if c.is_whitespace() => continue,
            ';' => {
                rest.by_ref().find(|c| *c == '\n');
                continue;
            }
            '(' => {
                open.push(Vec::new());
                continue;
            }
            ')' => Form::List(open.pop().unwrap()),
            '"' => {
                let mut text = String::new();
                loop {
                    match rest.next().unwrap() {
                        '"' => break,
                        '\\' => text.push(rest.next().unwrap()),
                        c => text.push(c),
                    }
                }
                Form::Text(text)
            }
            c => {
                let mut word = String::from(c);
                while let Some(c) = rest.next_if(|c| !c.is_whitespace() && !"();\"".contains(*c)) {
                    word.push(c);
                }
                Form::Word(word)
            }
        };
        open.last_mut().unwrap().push(form);
    }
    assert_eq!(open.len(), 1, "a parenthesis is open");
    open.pop().unwrap()
}

#[test]
fn the_reader_reads() {
    let text = "(version 1) ; (allow default)\n(deny default)\n(allow file-read*\n  (subpath \
                (param \"A\")) (literal \"/\"))(deny file-read-data (literal (param \"B\")))";
    let params = [("A", "/a \"b\\"), ("B", "/b")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    let sbpl = Sbpl::read(text, &params);
    let reads = |path| sbpl.allows("file-read-data", On::File(path));
    assert!(reads("/") && reads("/a \"b\\") && reads("/a \"b\\/c"));
    assert!(!reads("/a") && !reads("/a \"b\\c") && !reads("/b"));
    assert!(!sbpl.allows("file-write-data", On::File("/")));
}

#[test]
#[should_panic(expected = "depends on the reading")]
fn a_verdict_that_depends_on_the_reading_is_none() {
    let text = "(version 1)(deny default)(allow file-read-metadata)(deny file-read*)";
    Sbpl::read(text, &BTreeMap::new()).allows("file-read-metadata", On::File("/a"));
}

#[test]
#[should_panic(expected = "is unknown")]
fn an_unknown_operation_is_no_profile() {
    Sbpl::read(
        "(version 1)(deny default)(allow file-everything)",
        &BTreeMap::new(),
    );
}
