//! What `--report` says, held against what the command saw.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs;

use sandboxlib_tests::{RunSandbox, TinyRoot};
use serde_json::{Value, json};

fn report_of(root: &TinyRoot, options: &str, script: &str) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.json");
    let _ = RunSandbox::new(root.path())
        .options("--read-only")
        .options(options)
        .option("--report", &[&file])
        .sh(script);
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn a_run_that_exits() {
    let Some(root) = TinyRoot::new() else { return };
    let script = "n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done; sleep 0.2; exit 3";
    let report = report_of(&root, "", script);
    assert_eq!(report["backend"], "userns");
    assert_eq!(report["started"], "yes");
    assert_eq!(report["exit_code"], 3);
    assert_eq!(report["signal"], Value::Null);
    assert_eq!(report["timed_out"], false);
    assert_eq!(report["error"], Value::Null);
    assert!(report["pid"].as_u64().unwrap() > 1);
    let seconds = |name: &str| report[name].as_f64().unwrap();
    let used = seconds("user_seconds") + seconds("system_seconds");
    assert!(
        used > 0.01 && used < seconds("wall_seconds") - 0.1,
        "{report:#}"
    );
    assert!(
        seconds("wall_seconds") > 0.2 && seconds("wall_seconds") < 30.0,
        "{report:#}"
    );
    let memory = report["peak_memory_bytes"].as_u64().unwrap();
    assert!((100_000..1_000_000_000).contains(&memory), "{report:#}");
    for feature in ["root", "read-only", "network", "pid"] {
        assert!(
            report["enforced"]
                .as_array()
                .unwrap()
                .contains(&json!(feature)),
            "{report:#}"
        );
    }
    assert_eq!(report["not_enforced"], json!([]));
    assert_eq!(report["kill_scope"], "everything");
}

#[test]
fn runs_that_end_otherwise() {
    let Some(root) = TinyRoot::new() else { return };
    let killed = report_of(&root, "", "kill -9 $$");
    assert_eq!(
        (&killed["exit_code"], &killed["signal"]),
        (&Value::Null, &json!(9))
    );
    let late = report_of(&root, "--timeout 200ms", "sleep 10");
    assert_eq!(
        (&late["timed_out"], &late["started"]),
        (&json!(true), &json!("yes"))
    );
    // A command that exits 125 and a set-up that failed do not look alike.
    let own = report_of(&root, "", "exit 125");
    assert_eq!(
        (&own["started"], &own["exit_code"]),
        (&json!("yes"), &json!(125))
    );
    let failed = report_of(&root, "--bind /no/such/source /home", "exit 0");
    assert_eq!(
        (&failed["started"], &failed["exit_code"]),
        (&json!("no"), &Value::Null)
    );
    assert!(
        failed["error"]["message"]
            .as_str()
            .unwrap()
            .contains("/no/such/source"),
        "{failed:#}"
    );
}

#[test]
fn a_report_of_what_was_shared_does_not_claim_it() {
    let Some(root) = TinyRoot::new() else { return };
    let report = report_of(&root, "--network shared --share ipc", "true");
    for feature in ["network", "ipc"] {
        assert!(
            !report["enforced"]
                .as_array()
                .unwrap()
                .contains(&json!(feature)),
            "{report:#}"
        );
    }
}
