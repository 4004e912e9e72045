//! The part of Go's templates that people give to `--format`: fields, `range`, `if`, `with`, variables, pipelines and the
//! functions that docker's documentation names.

mod function;
mod parse;
mod render;

use serde_json::Value;

use super::{columns, listing};
use crate::error::CommandError;
use parse::Node;

/// A template.
#[derive(Debug, PartialEq)]
pub(crate) struct Template {
    nodes: Vec<Node>,
    /// Whether rows are aligned, with titles.
    table: bool,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// It is malformed, or has what is not known here.
    pub(crate) fn parse(text: &str) -> Result<Self, CommandError> {
        let (text, table) = match text.strip_prefix("table ") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let nodes = parse::parse(text).map_err(|why| {
            CommandError::failed(format!("template parsing error: {why}"))
                .hint("fields, range, if, with, index, json, join, split, len, eq and the like are known; jq does more")
        })?;
        Ok(Self { nodes, table })
    }

    /// What it makes of a value.
    ///
    /// # Errors
    ///
    /// The value has no such field, or a function is given what it does not take.
    pub(crate) fn render(&self, value: &Value) -> Result<String, CommandError> {
        render::render(&self.nodes, value).map_err(|why| CommandError::failed(format!("template: {why}")))
    }

    /// A line for each value, aligned and with titles if that is asked for.
    ///
    /// # Errors
    ///
    /// As [`Template::render`].
    pub(crate) fn table(&self, values: &[Value], titles: &[(&str, &str)]) -> Result<String, CommandError> {
        let lines = values.iter().map(|value| self.render(value)).collect::<Result<Vec<_>, _>>()?;
        if !self.table {
            return Ok(lines.into_iter().map(|line| line + "\n").collect());
        }
        let title = |node: &Node| match node {
            Node::Text(text) => text.clone(),
            node => listing::title(node.field().unwrap_or_default(), titles),
        };
        let head: String = self.nodes.iter().map(title).collect();
        let rows = std::iter::once(head).chain(lines);
        Ok(columns::aligned(&rows.map(|row| row.split('\t').map(str::to_owned).collect()).collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_people_ask_for() {
        let value = json!({
            "State": {"Status": "running", "Pid": 7, "Running": true, "Health": null},
            "Name": "/web",
            "Rows": [{"Labels": "a=1,b=c,d,e=2"}],
            "RepoDigests": ["a@sha256:1", "b@sha256:2"],
            "Config": {"Labels": {"com.x": "1"}, "Env": ["A=1", "B=2"], "Empty": []},
            "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "10.0.0.2"}, "n": {"IPAddress": "10.1.0.2"}}},
        });
        for (text, shown) in [
            ("{{.State.Status}}", "running"),
            ("{{ .Name }}: {{.State.Pid}}", "/web: 7"),
            ("{{json .State.Pid}}", "7"),
            ("{{json .Name}}\\t", "\"/web\"\t"),
            ("{{.Name | json}}", "\"/web\""),
            ("plain", "plain"),
            ("{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", "10.0.0.2 10.1.0.2 "),
            (
                "{{range $name, $net := .NetworkSettings.Networks}}{{$name}}={{$net.IPAddress}};{{end}}",
                "bridge=10.0.0.2;n=10.1.0.2;",
            ),
            ("{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$e}}{{end}}", "A=1,B=2"),
            ("{{range .Config.Empty}}x{{else}}none{{end}}", "none"),
            ("{{index .RepoDigests 0}}", "a@sha256:1"),
            ("{{(index .RepoDigests 1)}}", "b@sha256:2"),
            ("{{index .Config.Labels \"com.x\"}}", "1"),
            ("{{index .Config.Labels \"no\"}}", ""),
            ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
            ("{{if not .State.Running}}down{{else if eq .State.Status \"running\" \"paused\"}}alive{{end}}", "alive"),
            ("{{if and .State.Running (gt .State.Pid 5)}}yes{{end}}", "yes"),
            ("{{if or .State.Health (ne .Name \"/x\")}}yes{{end}}", "yes"),
            ("{{with .State}}{{.Status}}{{end}}", "running"),
            ("{{.Config.Label \"com.x\"}}{{.Config.Label \"no\"}}", "1"),
            ("{{range .Rows}}{{.Label \"b\"}};{{end}}", "c,d;"),
            ("{{with .State.Health}}{{.}}{{else}}no check{{end}}", "no check"),
            ("{{len .Config.Env}}", "2"),
            ("{{join .Config.Env \", \"}}", "A=1, B=2"),
            ("{{upper .State.Status}} {{slice .Name 1}} {{truncate .Name 2}}", "RUNNING web /w"),
            ("{{printf \"%s-%d-%q-%v\" .Name .State.Pid \"x\" true}}", "/web-7-\"x\"-true"),
            ("{{println .Name}}", "/web\n"),
            ("a {{- .Name -}} b", "a/webb"),
            ("{{/* nothing */}}x", "x"),
            ("{{$x := .State}}{{$x.Pid}}", "7"),
            ("{{range .Config.Env}}{{$.Name}}{{end}}", "/web/web"),
            ("{{.State.Health}}", "<nil>"),
            ("{{.Config.Env}} {{.State.Running}}", "[A=1 B=2] true"),
            ("{{.Config.Labels}}", "map[com.x:1]"),
            ("{{.Config.Labels.no}}{{if .Config.Labels.no}}yes{{end}}", "<no value>"),
            ("{{(index (split .Name \"/\") 1)}}", "web"),
            ("{{title .State.Status}} {{lower \"ÄB\"}}{{title \"\"}}{{pad .Name 1 2}}|", "Running äb /web  |"),
            ("{{lt 1 2}} {{le 2 2}} {{ge 1 2}} {{lt \"b\" \"a\"}} {{gt 2 1}}", "true true false false true"),
            ("{{print .Name 1}} {{and 1 0 2}} {{or 0 \"\"}}|", "/web 1 0 |"),
            ("{{\"a\\\"b\"}}{{`raw`}}", "a\"braw"),
        ] {
            let rendered = Template::parse(text).unwrap_or_else(|error| panic!("{text}: {}", error.chain()));
            assert_eq!(rendered.render(&value).unwrap_or_else(|error| error.chain()), shown, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            "{{.Name",
            "{{range .X}}",
            "{{if .A}}",
            "{{end}}",
            "{{else}}",
            "{{.Name | nosuch}}",
            "{{nosuch .A}}",
            "{{template \"x\"}}",
            "{{.A.}}",
            "{{(.A}}",
            "{{\"a}}",
            "{{}}",
            "{{$}}{{$x}}",
            "{{.a-b}}",
        ] {
            let parsed = Template::parse(bad);
            assert!(parsed.is_err() || parsed.unwrap().render(&json!({"A": 1})).is_err(), "{bad}");
        }
        let value = json!({"A": [1], "S": "x"});
        for bad in [
            "{{.Nothing}}",
            "{{.S.T}}",
            "{{index .A 1}}",
            "{{index .A \"x\"}}",
            "{{join .S \",\"}}",
            "{{len 1}}",
            "{{lt 1 \"a\"}}",
            "{{ne 1}}",
            "{{slice .S 2}}",
            "{{range .S}}{{end}}",
        ] {
            assert!(Template::parse(bad).unwrap().render(&value).is_err(), "{bad}");
        }
        let deep = format!("{}x{}", "{{if true}}".repeat(10_000), "{{end}}".repeat(10_000));
        assert!(Template::parse(&deep).is_err());
        assert!(Template::parse(&format!("{{{{{}1{}}}}}", "(".repeat(10_000), ")".repeat(10_000))).is_err());
    }

    #[test]
    fn tables_have_titles() {
        let table = Template::parse("table {{.ID}}\\t{{.Names}}").unwrap();
        let rows = [json!({"ID": "0123456789ab", "Names": "web"})];
        let shown = table.table(&rows, &[("ID", "CONTAINER ID"), ("Names", "NAMES")]).unwrap();
        assert_eq!(shown, "CONTAINER ID   NAMES\n0123456789ab   web\n");
    }
}
