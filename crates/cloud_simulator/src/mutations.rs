//! True answers of the API, changed: what the V1 API allows, and the local cloud itself never does.

use serde_json::{Map, Value};

use crate::faults::Mutation;

/// Fields that an answer may lack.
const OPTIONAL: [&str; 8] =
    ["description", "error_message", "log", "link", "log_link", "tags", "audits", "audit_names"];

/// Fields that hold times.
const TIMES: [&str; 5] = ["start_at", "end_at", "execution_time", "interval_start", "interval_end"];

pub(crate) fn mutate(answer: &mut Value, mutations: &[Mutation]) {
    for mutation in mutations {
        match (mutation, &mut *answer) {
            (Mutation::BareObject, Value::Array(list)) if list.len() == 1 => *answer = list.remove(0),
            (Mutation::BareObject, _) => {}
            (mutation, answer) => each_object(answer, &|object| change(object, *mutation)),
        }
    }
}

/// Gives evaluations and runs the statuses that `odd_status` has for their ids.
pub(crate) fn with_odd_statuses(answer: &mut Value, odd_status: impl Fn(&str) -> Option<String>) {
    each_object(answer, &|object| {
        let id = object.get("evaluation_id").or_else(|| object.get("run_id")).and_then(Value::as_str);
        if let (Some(status), true) = (id.and_then(&odd_status), object.contains_key("status")) {
            object.insert("status".to_owned(), status.into());
        }
    });
}

fn change(object: &mut Map<String, Value>, mutation: Mutation) {
    match mutation {
        Mutation::NullExecutionTime => {
            object.entry("execution_time").and_modify(|time| *time = Value::Null);
        }
        Mutation::TimesWithoutZone => {
            for name in TIMES {
                if let Some(Value::String(time)) = object.get_mut(name) {
                    *time = time.trim_end_matches('Z').to_owned();
                }
            }
        }
        Mutation::NoOptionalFields => OPTIONAL.iter().for_each(|name| drop(object.remove(*name))),
        Mutation::NullOptionalFields => {
            for name in OPTIONAL {
                object.entry(name).and_modify(|value| *value = Value::Null);
            }
        }
        Mutation::UnknownFields => {
            object.insert("some_new_field".to_owned(), serde_json::json!({"of": ["another", 1, null]}));
        }
        Mutation::BareObject => {}
    }
}

fn each_object(value: &mut Value, change: &impl Fn(&mut Map<String, Value>)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each_object(item, change)),
        Value::Object(object) => {
            // What the change adds is left as it is.
            object.values_mut().for_each(|value| each_object(value, change));
            change(object);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_changed_through_and_through() {
        let check = |mutation: Mutation, expected: Value| {
            let mut answer = json!([{"evaluation_id": "e", "status": "success", "end_at": "2024-05-01T02:00:00Z",
                                     "log": "x", "audits": [{"execution_time": "2024-05-01T02:00:00Z", "log": null}]}]);
            mutate(&mut answer, &[mutation]);
            assert_eq!(answer, expected, "{mutation:?}");
        };
        let end = "2024-05-01T02:00:00Z";
        check(
            Mutation::NullExecutionTime,
            json!([{"evaluation_id": "e", "status": "success", "end_at": end, "log": "x",
                    "audits": [{"execution_time": null, "log": null}]}]),
        );
        check(
            Mutation::TimesWithoutZone,
            json!([{"evaluation_id": "e", "status": "success", "end_at": "2024-05-01T02:00:00", "log": "x",
                    "audits": [{"execution_time": "2024-05-01T02:00:00", "log": null}]}]),
        );
        check(Mutation::NoOptionalFields, json!([{"evaluation_id": "e", "status": "success", "end_at": end}]));
        check(
            Mutation::NullOptionalFields,
            json!([{"evaluation_id": "e", "status": "success", "end_at": end, "log": null, "audits": null}]),
        );
        check(
            Mutation::UnknownFields,
            json!([{"evaluation_id": "e", "status": "success", "end_at": end, "log": "x",
                    "audits": [{"execution_time": end, "log": null, "some_new_field": {"of": ["another", 1, null]}}],
                    "some_new_field": {"of": ["another", 1, null]}}]),
        );
        check(
            Mutation::BareObject,
            json!({"evaluation_id": "e", "status": "success", "end_at": end, "log": "x",
                   "audits": [{"execution_time": end, "log": null}]}),
        );
    }

    #[test]
    fn an_evaluation_may_show_a_status_that_nobody_knows() {
        let mut answer = json!([{"evaluation_id": "e", "run_id": "r", "status": "success"},
                                {"run_id": "r", "status": "success"}]);
        with_odd_statuses(&mut answer, |id| (id == "e").then(|| "parked".to_owned()));
        assert_eq!((&answer[0]["status"], &answer[1]["status"]), (&json!("parked"), &json!("success")));
    }
}
