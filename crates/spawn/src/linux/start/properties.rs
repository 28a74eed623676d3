//! Whatever the child or the init program might send, the parent makes an error of it that names
//! something.

use std::os::unix::ffi::OsStrExt as _;

use proptest::prelude::*;
use sandboxlib_core::{ExecProblem, Step};

use super::judge::{exec_error, step_error};
use super::*;
use crate::ending::decode;

fn messages() -> impl Strategy<Value = Message> {
    let numbers = (
        prop_oneof![0..9_u32, any::<u32>()],
        any::<i32>(),
        prop_oneof![0..9_u32, any::<u32>()],
        any::<u32>(),
    );
    let text = (
        prop_oneof![0..300_u32, any::<u32>()],
        prop::collection::vec(any::<u8>(), Message::TEXT),
    );
    (numbers, text).prop_map(|((kind, errno, a, b), (text_len, text))| {
        let mut message = Message::new(kind);
        (message.errno, message.a, message.b) = (errno, a, b);
        message.text_len = text_len;
        message.text.copy_from_slice(&text);
        message
    })
}

proptest! {
    #[test]
    fn messages_are_copied_as_they_are(message in messages()) {
        let mut copy = Message::new(0);
        copy.bytes_mut().copy_from_slice(message.bytes());
        prop_assert_eq!(copy.bytes(), message.bytes());
        prop_assert_eq!((copy.kind, copy.errno, copy.a), (message.kind, message.errno, message.a));
    }

    #[test]
    fn any_message_makes_an_error(message in messages(), count in 0..4_usize) {
        let steps = vec![Step::ChrootTo("/r".into()); count];
        let run = Run::new("prog");
        let tail = Tail::after(u32::try_from(count).unwrap());
        for error in [exec_error(&message, &run), step_error(&message, tail, &steps, &run)] {
            let text = format!("{error}: {}", error.source);
            // A path that the command's file names is quoted, so it cannot write to a terminal.
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
            prop_assert!(text.len() < 100 + 10 * Message::TEXT, "{text:?}");
            prop_assert_eq!(error.started, sandboxlib_core::Started::No);
            match error.step {
                FailedStep::Script { index, .. } => prop_assert!(index < count),
                FailedStep::Exec { program, problem } => {
                    prop_assert_eq!(program, Path::new("prog"));
                    if let ExecProblem::InterpreterMissing(path) | ExecProblem::LoaderMissing(path) =
                        problem
                    {
                        let named = path.as_os_str().as_bytes();
                        prop_assert!(message.text.starts_with(named));
                        prop_assert!(named.len() <= message.text_len as usize);
                    }
                }
                _ => {}
            }
        }
    }

    #[test]
    fn any_wait_status_is_an_end(status in any::<i32>()) {
        match decode(status) {
            sandboxlib_core::End::Exited(code) => prop_assert!((0..256).contains(&code)),
            sandboxlib_core::End::Signalled(signal) => prop_assert!((1..128).contains(&signal)),
            other => prop_assert!(false, "{other:?}"),
        }
    }
}
