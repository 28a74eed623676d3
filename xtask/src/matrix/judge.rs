//! What was found in a row, held against what is expected and against what the doctor says.

use serde_json::Value;

use super::rows::{BACKENDS, Expect, Row};
use crate::Result;

/// These hold where nothing can be started at all, so they prove nothing.
const NO_PROOF: [&str; 2] = [
    "a_missing_command_is_no_run",
    "a_missing_directory_is_no_run",
];

/// What a backend turned out to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// It enforces all features but these, each with the reason, and is as the suite wants it but
    /// in these cases.
    Works {
        lacks: Vec<(String, String)>,
        deviates: Vec<(String, String)>,
    },
    /// Nothing runs, for this reason.
    Unusable(String),
}

/// A backend in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) backend: String,
    pub(super) found: Found,
    /// Where what was found is not what is expected, or not what the doctor says.
    pub(super) mismatches: Vec<String>,
}

/// Judges what `matrix-row` told of a row.
pub(super) fn judge(row: &Row, told: &Value) -> Result<Vec<Judged>> {
    let backends = list(told, "backends")?;
    BACKENDS
        .iter()
        .zip(&row.expect)
        .map(|(name, expect)| {
            let backend = named(backends, name)
                .ok_or_else(|| format!("matrix-row told nothing of {name}"))?;
            let cases = read_cases(backend)?;
            let found = find(&cases);
            let mut mismatches = compare(expect, &found);
            mismatches.extend(doctor(told, backend, &found, &cases)?);
            Ok(Judged {
                backend: (*name).to_owned(),
                found,
                mismatches,
            })
        })
        .collect()
}

/// What holds the limits of all processes together, and where that is not what is expected or
/// one of them does not hold.
pub(super) fn limits(row: &Row, told: &Value) -> Result<(String, Vec<String>)> {
    if row.limits.is_empty() {
        return Ok((String::new(), Vec::new()));
    }
    let mut wrong = Vec::new();
    let mut found: Vec<&str> = Vec::new();
    for limit in list(told, "limits")? {
        let text = |key: &str| limit[key].as_str().unwrap_or_default();
        let (name, by, ended) = (text("limit"), text("by"), text("ended"));
        if !row.limits.contains(&by) {
            let means = row.limits;
            wrong.push(format!("{name} was to be held by {means:?}, and by {by:?}"));
        }
        if ended != name {
            wrong.push(format!("what exceeds {name} ends by {ended}"));
        }
        if !found.contains(&by) {
            found.push(by);
        }
    }
    if found.is_empty() {
        return Err("matrix-row told of no limit".into());
    }
    Ok((found.join(", "), wrong))
}

/// A case, as matrix-row tells it.
struct Case {
    name: String,
    needs: Vec<String>,
    result: String,
    why: String,
}

impl Case {
    fn held(&self) -> bool {
        self.result == "held"
    }

    /// Whether it was not run, for a reason that was told.
    fn declined(&self) -> bool {
        self.result == "refused" || self.result == "forbidden"
    }
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a [Value]> {
    let found = value[key].as_array().map(Vec::as_slice);
    found.ok_or_else(|| format!("matrix-row told no {key}").into())
}

fn named<'a>(values: &'a [Value], name: &str) -> Option<&'a Value> {
    values.iter().find(|value| value["name"] == name)
}

fn read_cases(backend: &Value) -> Result<Vec<Case>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let cases: Vec<Case> = list(backend, "cases")?
        .iter()
        .map(|case| Case {
            name: text(&case["name"]),
            needs: case["needs"]
                .as_array()
                .into_iter()
                .flatten()
                .map(text)
                .collect(),
            result: text(&case["result"]),
            why: text(&case["why"]),
        })
        .collect();
    if cases.is_empty() || cases.iter().any(|case| case.result == "untried") {
        return Err("the conformance suite was built without its probe".into());
    }
    Ok(cases)
}

fn find(cases: &[Case]) -> Found {
    let proves = |case: &&Case| !NO_PROOF.contains(&case.name.as_str());
    if !cases.iter().filter(proves).any(Case::held) {
        let why = cases.first().map_or("", |case| &case.why);
        return Found::Unusable(why.to_owned());
    }
    let lacks = lacking(cases);
    let lacked = |case: &Case| {
        let lacks = |feature| lacks.iter().any(|(lacking, _)| lacking == feature);
        case.needs.iter().any(lacks)
    };
    let deviates = cases
        .iter()
        .filter(|case| !case.held() && (case.result == "failed" || !lacked(case)))
        .map(|case| (case.name.clone(), case.why.clone()))
        .collect();
    Found::Works { lacks, deviates }
}

/// The features that are refused, or forbidden by the host, with the reason. A feature whose every
/// case needs another one that is lacking too was not shown to lack, unless the reason names it.
fn lacking(cases: &[Case]) -> Vec<(String, String)> {
    let holds = |feature: &&String| {
        let shows = |case: &Case| case.held() && case.needs.contains(feature);
        cases.iter().any(shows)
    };
    let mut lacks: Vec<(String, String)> = Vec::new();
    for case in cases.iter().filter(|case| case.declined()) {
        let named = |feature: &&String| case.why.contains(&format!("{feature} cannot be enforced"));
        let mut to_blame: Vec<&String> = case.needs.iter().filter(named).collect();
        if to_blame.is_empty() {
            to_blame = case
                .needs
                .iter()
                .filter(|feature| !holds(feature))
                .collect();
            to_blame.truncate(if to_blame.len() == 1 { 1 } else { 0 });
        }
        for feature in to_blame {
            if !lacks.iter().any(|(known, _)| known == feature) {
                lacks.push((feature.clone(), case.why.clone()));
            }
        }
    }
    lacks
}

fn compare(expect: &Expect, found: &Found) -> Vec<String> {
    match (expect, found) {
        (Expect::Unusable(words), Found::Unusable(why)) if why.contains(words) => Vec::new(),
        (Expect::Unusable(words), Found::Unusable(why)) => {
            vec![format!(
                "it was to be unusable because {words:?}, and is because {why:?}"
            )]
        }
        (Expect::Unusable(words), Found::Works { .. }) => {
            vec![format!(
                "it was to be unusable because {words:?}, and works"
            )]
        }
        (Expect::Works { .. }, Found::Unusable(why)) => vec![format!("nothing runs: {why}")],
        (Expect::Works { lacks, deviates }, found @ Found::Works { .. }) => {
            let Found::Works {
                lacks: lacked,
                deviates: deviated,
            } = found
            else {
                return Vec::new();
            };
            let mut wrong = Vec::new();
            for (words, features) in *lacks {
                for feature in *features {
                    match lacked.iter().find(|(name, _)| name == feature) {
                        None => wrong.push(format!("{feature} was to be lacking and is not")),
                        Some((_, why)) if !why.contains(words) => wrong.push(format!(
                            "{feature} was to be lacking because {words:?}, and is because {why:?}"
                        )),
                        Some(_) => {}
                    }
                }
            }
            let expected = |name: &String| {
                let mut features = lacks.iter().flat_map(|(_, features)| *features);
                features.any(|feature| feature == name)
            };
            for (name, why) in lacked.iter().filter(|(name, _)| !expected(name)) {
                wrong.push(format!("{name} is lacking: {why}"));
            }
            for case in *deviates {
                if !deviated.iter().any(|(name, _)| name == case) {
                    wrong.push(format!("{case} was to deviate and holds"));
                }
            }
            for (name, why) in deviated {
                if !deviates.contains(&name.as_str()) {
                    wrong.push(format!("{name}: {why}"));
                }
            }
            wrong
        }
    }
}

/// Where the doctor says otherwise than what was found. Of a backend with a helper it says no
/// more than whether there is one.
fn doctor(told: &Value, backend: &Value, found: &Found, cases: &[Case]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let name = backend["name"].as_str().unwrap_or_default();
    let Some(said) = named(list(&told["doctor"], "backends")?, name) else {
        if name == "bubblewrap" {
            let check = named(list(&told["doctor"], "checks")?, "bwrap")
                .ok_or("the doctor has no check bwrap")?;
            let there = check["verdict"] == "works";
            let missed = cases
                .iter()
                .any(|case| case.why.contains("is not installed"));
            if there == missed {
                wrong.push(format!("the doctor says of bwrap: {}", check["verdict"]));
            }
        }
        return Ok(wrong);
    };
    let ran = backend["plain_run"].is_null();
    if (said["plain_run"]["verdict"] == "works") != ran {
        let (verdict, why) = (&said["plain_run"]["verdict"], &backend["plain_run"]);
        wrong.push(format!(
            "the doctor says of a plain run {verdict}, and it: {why}"
        ));
    }
    for feature in list(said, "features")? {
        let name = feature["feature"].as_str().unwrap_or_default();
        let verdict = feature["verdict"].as_str().unwrap_or_default();
        let held = |case: &Case| case.held() && case.needs.iter().any(|need| need == name);
        let lacking = match found {
            Found::Unusable(_) => true,
            Found::Works { lacks, .. } => lacks.iter().any(|(lacking, _)| lacking == name),
        };
        // One id works and another does not: then either answer is right.
        let partly = |case: &Case| {
            case.declined()
                && case.needs.iter().any(|need| need == name)
                && matches!(found, Found::Works { deviates, .. }
                    if deviates.iter().any(|(deviating, _)| *deviating == case.name))
        };
        let shown = match (cases.iter().any(held), lacking) {
            (true, _) if cases.iter().any(partly) => continue,
            (true, _) => "works",
            (false, true) => "fails",
            // What every case of it needs besides is lacking.
            (false, false) => continue,
        };
        if verdict != shown {
            wrong.push(format!(
                "the doctor says of {name}: {verdict}, and it {shown}"
            ));
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::matrix::rows::ROWS;

    fn case(name: &str, needs: &[&str], result: &str) -> Value {
        json!({"name": name, "needs": needs, "result": result, "why": format!("{name} says no")})
    }

    fn found(cases: &[Value]) -> Found {
        find(&read_cases(&json!({"cases": cases})).unwrap())
    }

    fn names(list: &[(String, String)]) -> Vec<&str> {
        list.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn what_nothing_shows_is_not_said_to_lack() {
        let cases = [
            case("a", &["root"], "held"),
            case("b", &["pid"], "held"),
            case("c", &["proc", "pid"], "forbidden"),
            case("d", &["cgroup", "proc", "pid"], "forbidden"),
            case("e", &["ids"], "held"),
            case("f", &["ids"], "refused"),
            case("g", &["dev"], "failed"),
            json!({
                "name": "h", "needs": ["time", "proc"], "result": "refused",
                "why": "time cannot be enforced: there is none",
            }),
        ];
        let Found::Works { lacks, deviates } = found(&cases) else {
            panic!("it works");
        };
        assert_eq!(names(&lacks), ["proc", "time"]);
        assert_eq!(names(&deviates), ["f", "g"]);
    }

    #[test]
    fn cases_about_what_cannot_be_started_prove_nothing() {
        let cases = [
            case("arguments", &[], "failed"),
            case("a_missing_command_is_no_run", &[], "held"),
        ];
        assert_eq!(
            found(&cases),
            Found::Unusable("arguments says no".to_owned())
        );
        assert!(read_cases(&json!({"cases": []})).is_err());
        assert!(read_cases(&json!({"cases": [case("a", &[], "untried")]})).is_err());
    }

    #[test]
    fn a_mismatch_either_way_is_told() {
        let expect = Expect::Works {
            lacks: &[("says no", &["pid"])],
            deviates: &["a"],
        };
        let works = |lacks: &[&str], deviates: &[&str]| {
            let pairs = |names: &[&str]| -> Vec<(String, String)> {
                let pair = |name: &&str| ((*name).to_owned(), "says no".to_owned());
                names.iter().map(pair).collect()
            };
            Found::Works {
                lacks: pairs(lacks),
                deviates: pairs(deviates),
            }
        };
        let wrong = |found: &Found| compare(&expect, found).len();
        assert_eq!(wrong(&works(&["pid"], &["a"])), 0);
        assert_eq!(wrong(&works(&[], &["a"])), 1);
        assert_eq!(wrong(&works(&["pid", "proc"], &["a"])), 1);
        assert_eq!(wrong(&works(&["pid"], &[])), 1);
        assert_eq!(wrong(&works(&["pid"], &["a", "b"])), 1);
        assert_eq!(wrong(&Found::Unusable("x".to_owned())), 1);
        let unusable =
            |why: &str| compare(&Expect::Unusable("x"), &Found::Unusable(why.to_owned()));
        assert_eq!((unusable("ax").len(), unusable("y").len()), (0, 1));
        assert_eq!(compare(&Expect::Unusable("x"), &works(&[], &[])).len(), 1);
        let other = Expect::Works {
            lacks: &[("for another reason", &["pid"])],
            deviates: &["a"],
        };
        assert_eq!(compare(&other, &works(&["pid"], &["a"])).len(), 1);
    }

    #[test]
    fn a_doctor_who_says_otherwise_is_told() {
        let told = |plain: &str, verdict: &str| {
            json!({
                "doctor": {
                    "checks": [],
                    "backends": [{
                        "name": "userns",
                        "plain_run": {"verdict": plain},
                        "features": [{"feature": "pid", "verdict": verdict}],
                    }],
                },
            })
        };
        let backend = json!({
            "name": "userns",
            "plain_run": null,
            "cases": [case("a", &["pid"], "held")],
        });
        let cases = read_cases(&backend).unwrap();
        let wrong = |told: &Value| {
            let found = find(&cases);
            doctor(told, &backend, &found, &cases).unwrap().len()
        };
        assert_eq!(wrong(&told("works", "works")), 0);
        assert_eq!(wrong(&told("fails", "works")), 1);
        assert_eq!(wrong(&told("works", "fails")), 1);
        assert_eq!(wrong(&told("works", "unknown")), 1);
    }

    #[test]
    fn a_limit_that_does_not_hold_or_by_something_else_is_told() {
        let row = ROWS.iter().find(|row| row.name == "6.12-root").unwrap();
        let told = |by: &str, ended: &str| {
            json!({"limits": [
                {"limit": "memory", "by": by, "ended": ended},
                {"limit": "processes", "by": "cgroup-v2", "ended": "processes"},
            ]})
        };
        let judged = |by, ended| {
            let (found, wrong) = limits(row, &told(by, ended)).unwrap();
            (found, wrong.len())
        };
        assert_eq!(judged("cgroup-v2", "memory"), ("cgroup-v2".to_owned(), 0));
        assert_eq!(
            judged("accounting", "memory"),
            ("accounting, cgroup-v2".to_owned(), 1)
        );
        assert_eq!(judged("cgroup-v2", "Exited(0)").1, 1);
        assert_eq!(judged("", "why not").1, 2);
        assert!(limits(row, &json!({})).is_err());
        assert!(limits(row, &json!({"limits": []})).is_err());
    }

    #[test]
    fn rows_have_names_of_their_own() {
        for (n, row) in ROWS.iter().enumerate() {
            let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
            assert!(row.name.chars().all(word), "{}", row.name);
            assert!(ROWS[..n].iter().all(|other| other.name != row.name));
        }
    }
}
