//! The URLs of the pages, in the shape that the API's `link` and `log_link` have.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::form_urlencoded::Serializer;

use crate::store::{Evaluation, Kind, Project};

/// What may stand in a path segment as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Builds URLs below one base: the public one for the API's responses, only its path for the pages themselves, which
/// then work under whatever host name the browser uses.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    base: String,
}

/// Which tab of the debugger view a link opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EvaluationTab {
    Overview,
    Error,
    Log,
}

impl EvaluationTab {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Error => "error",
            Self::Log => "log",
        }
    }
}

/// Names one evaluation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EvaluationOf<'a> {
    pub kind: Kind,
    pub environment: &'a str,
    pub activity_id: &'a str,
    pub node_name: &'a str,
    pub evaluation_id: &'a str,
}

impl<'a> From<&'a Evaluation> for EvaluationOf<'a> {
    fn from(evaluation: &'a Evaluation) -> Self {
        Self {
            kind: evaluation.kind,
            environment: &evaluation.environment,
            activity_id: &evaluation.activity_id,
            node_name: &evaluation.node_name,
            evaluation_id: &evaluation.id,
        }
    }
}

impl Links {
    pub fn below(base: &str) -> Self {
        let base = base.trim_end_matches('/').to_owned();
        Self { base }
    }

    /// The same below a project's base URL.
    pub fn project(&self, project: &Project) -> Self {
        Self { base: format!("{}/projects/{}", self.base, segment(project.label())) }
    }

    /// Without a slash at the end.
    pub fn base(&self) -> String {
        self.base.clone()
    }

    pub fn index(&self) -> String {
        format!("{}/", self.base)
    }

    pub fn stylesheet(&self) -> String {
        format!("{}/style.css", self.base)
    }

    pub fn environment(&self, environment: &str) -> String {
        format!("{}/environments/{}", self.base, segment(environment))
    }

    /// `version: None` shows all versions.
    pub fn model(&self, environment: &str, name: &str, version: Option<&str>) -> String {
        let page = format!("{}/models/{}", self.environment(environment), segment(name));
        match version {
            Some(version) => with_query(page, &[("version", version)]),
            None => page,
        }
    }

    /// The summary of a run or plan.
    pub fn executions(&self, kind: Kind, environment: &str, id: &str) -> String {
        self.summary(kind, environment, id, "executions")
    }

    /// The same with all audits.
    pub fn audits(&self, kind: Kind, environment: &str, id: &str) -> String {
        self.summary(kind, environment, id, "audits")
    }

    /// The debugger view of one evaluation.
    pub fn evaluation(&self, of: &EvaluationOf<'_>, tab: EvaluationTab) -> String {
        let query = [
            ("tab", "explore"),
            ("model_name", of.node_name),
            ("evaluation_id", of.evaluation_id),
            ("tab_model_evaluation", "definition"),
            ("tab_evaluation", tab.as_str()),
        ];
        with_query(self.activity(of.kind, of.environment, of.activity_id), &query)
    }

    /// The same view, opened at one audit; `number` counts the evaluation's audits from 1.
    pub fn audit(&self, of: &EvaluationOf<'_>, number: usize, tab: EvaluationTab) -> String {
        format!("{}#audit-{number}", self.evaluation(of, tab))
    }

    fn summary(&self, kind: Kind, environment: &str, id: &str, tab: &str) -> String {
        with_query(self.activity(kind, environment, id), &[("tab", "summary"), ("tab_summary", tab)])
    }

    fn activity(&self, kind: Kind, environment: &str, id: &str) -> String {
        format!("{}/{}s/{}", self.environment(environment), kind.as_str(), segment(id))
    }
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

fn with_query(page: String, query: &[(&str, &str)]) -> String {
    let query = Serializer::new(String::new()).extend_pairs(query).finish();
    format!("{page}?{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments_and_models_are_encoded() {
        let links = Links::below("http://h:1/cloud/");
        assert_eq!(links.index(), "http://h:1/cloud/");
        assert_eq!(links.environment("release/1.2"), "http://h:1/cloud/environments/release%2F1.2");
        assert_eq!(
            links.model("dev-a", r#""db"."o k""#, Some("1&2")),
            "http://h:1/cloud/environments/dev-a/models/%22db%22.%22o%20k%22?version=1%262"
        );
    }

    #[test]
    fn runs_and_plans_have_tabs() {
        let links = Links::below("http://h:1");
        assert_eq!(
            links.executions(Kind::Run, "prod", "r1"),
            "http://h:1/environments/prod/runs/r1?tab=summary&tab_summary=executions"
        );
        assert_eq!(
            links.audits(Kind::Plan, "prod", "p1"),
            "http://h:1/environments/prod/plans/p1?tab=summary&tab_summary=audits"
        );
    }

    #[test]
    fn evaluations_open_the_debugger_view() {
        let of = EvaluationOf {
            kind: Kind::Run,
            environment: "prod",
            activity_id: "r1",
            node_name: r#""a"."b""#,
            evaluation_id: "e1",
        };
        let view = "http://h:1/environments/prod/runs/r1?tab=explore&model_name=%22a%22.%22b%22&evaluation_id=e1\
                    &tab_model_evaluation=definition&tab_evaluation=";
        assert_eq!(Links::below("http://h:1").evaluation(&of, EvaluationTab::Log), format!("{view}log"));
        assert_eq!(
            Links::below("http://h:1").audit(&of, 2, EvaluationTab::Overview),
            format!("{view}overview#audit-2")
        );
    }

    #[test]
    fn pages_link_by_path_alone() {
        assert_eq!(Links::below("/cloud").index(), "/cloud/");
        assert_eq!(Links::below("/").stylesheet(), "/style.css");
        assert_eq!(Links::below("").index(), "/");
    }
}
