//! Events as a recorder sends them. Times are seconds after midnight of 2024-05-01.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

pub const ORDERS: &str = r#""wh"."shop"."orders""#;
pub const ITEMS: &str = r#""wh"."shop"."items""#;
pub const CHECK: &str = r#""wh"."shop"."totals_match""#;

/// `2024-05-01T00:00:00Z` and so many seconds.
pub fn at(second: u32) -> String {
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("2024-05-01T{hour:02}:{minute:02}:{second:02}Z")
}

fn event(kind: &str, second: u32, mut fields: Value) -> Value {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    fields["id"] = format!("00000000-0000-4000-8000-{number:012}").into();
    fields["at"] = at(second).into();
    fields["type"] = kind.into();
    fields
}

/// A model that reads the table `raw`, which is no node.
pub fn model(name: &str, version: &str) -> Value {
    json!({"name": name, "model_name": name.replace('"', ""), "description": "What was sold", "source_type": "sql",
           "tags": ["core"], "parent_names": ["\"wh\".\"shop\".\"raw\""], "audit_names": ["not_null"],
           "type": "model", "version": version})
}

pub fn standalone_audit(name: &str, parents: &[&str]) -> Value {
    json!({"name": name, "model_name": name.replace('"', ""), "description": null, "source_type": "audit",
           "tags": [], "parent_names": parents, "audit_names": [], "type": "audit", "version": "a1"})
}

pub fn environment(name: &str, second: u32, nodes: &[Value]) -> Value {
    let fields = json!({"environment": name, "plan_id": "p1", "start_at": "2024-01-01T00:00:00Z",
                        "schedule_cron": null, "schedule_seconds": null, "nodes": nodes});
    event("environment", second, fields)
}

pub fn environment_deleted(name: &str, second: u32) -> Value {
    event("environment_deleted", second, json!({"environment": name}))
}

pub fn due(second: u32, run: Activity, names: &[&str]) -> Value {
    let mut fields = run.fields();
    fields["node_names"] = names.into();
    event("due", second, fields)
}

/// A run or a plan.
#[derive(Clone, Copy)]
pub struct Activity {
    kind: &'static str,
    id: &'static str,
    environment: &'static str,
}

pub fn run(id: &'static str) -> Activity {
    Activity { kind: "run", id, environment: "prod" }
}

pub fn plan(id: &'static str) -> Activity {
    Activity { kind: "plan", ..run(id) }
}

impl Activity {
    pub fn of(self, environment: &'static str) -> Self {
        Self { environment, ..self }
    }

    fn fields(self) -> Value {
        let mut fields = json!({"environment": self.environment});
        fields[format!("{}_id", self.kind)] = self.id.into();
        fields
    }

    pub fn started(self, second: u32) -> Value {
        event(&format!("{}_started", self.kind), second, self.fields())
    }

    pub fn ended(self, second: u32, status: &str, message: Option<&str>) -> Value {
        let mut fields = self.fields();
        fields["status"] = status.into();
        fields["error_message"] = message.into();
        event(&format!("{}_ended", self.kind), second, fields)
    }

    pub fn heartbeat(self, second: u32) -> Value {
        event("heartbeat", second, self.fields())
    }

    pub fn scheduled(self, second: u32, id: &str, node: &str, version: &str) -> Value {
        let fields = self.batch(id, node, version);
        event("evaluation_scheduled", second, fields)
    }

    pub fn evaluating(self, second: u32, id: &str, node: &str, version: &str) -> Value {
        let fields = self.batch(id, node, version);
        event("evaluation_started", second, fields)
    }

    /// An evaluation that takes a second.
    pub fn evaluated(self, second: u32, id: &str, node: &str, version: &str) -> [Value; 2] {
        let started = self.evaluating(second, id, node, version);
        [started, ended(second + 1, id, "success", None)]
    }

    fn batch(self, id: &str, node: &str, version: &str) -> Value {
        let mut fields = self.fields();
        fields["evaluation_id"] = id.into();
        fields["node_name"] = node.into();
        fields["version"] = version.into();
        fields["interval_start"] = "2024-04-30T00:00:00+00:00".into();
        fields["interval_end"] = "2024-05-01T00:00:00+00:00".into();
        fields
    }
}

pub fn audited(second: u32, id: &str, name: &str, status: &str) -> Value {
    let fields = json!({"evaluation_id": id, "name": name, "args": {"columns": "id"}, "status": status,
                        "blocking": status == "success", "count": u8::from(status != "success"),
                        "execution_time": at(second), "interval_start": "2024-04-30T00:00:00Z",
                        "interval_end": "2024-05-01T00:00:00Z", "log": "SELECT 1 WHERE <id> IS NULL"});
    event("audit", second, fields)
}

pub fn ended(second: u32, id: &str, status: &str, message: Option<&str>) -> Value {
    let fields = json!({"evaluation_id": id, "status": status, "error_message": message,
                        "log": format!("evaluated {id}")});
    event("evaluation_ended", second, fields)
}
