//! `--format` of the commands that list something, as Docker has it (docker/cli `cli/command/formatter`): `table`, `json`, a Go template for
//! each row, or `table` and a template, whose columns are then aligned under their heads.

use std::str::FromStr;
use std::sync::LazyLock;

use gotmpl::{MissingKey, TemplateError, Value};
use regex::Regex;

use super::json;

/// What a list looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// The usual columns.
    Table,
    /// One object a line.
    Json,
    /// What the user has thought of.
    Template(Template),
}

/// A Go template for each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    /// Tabs in it part columns.
    is_table: bool,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" => return Ok(Self::Table),
            "json" => return Ok(Self::Json),
            _ if !text.contains("{{") => return Err("expected `table`, `json`, or a Go template as `{{.Name}}`".to_owned()),
            _ => {}
        }
        let (text, is_table) = text.strip_prefix("table").map_or((text, false), |columns| (columns.trim(), true));
        let template = Template { text: text.replace(r"\t", "\t").replace(r"\n", "\n"), is_table };
        template.parsed().map_err(|error| format!("{error}"))?;
        Ok(Self::Template(template))
    }
}

impl Format {
    /// Draws a list: its usual table, or its rows as objects that all have the same fields. [`LABEL_FIELD`] is for templates alone. What is
    /// wrong with a template is one sentence fragment.
    pub fn draw(
        &self,
        table: impl FnOnce() -> String,
        heads: &Heads,
        rows: impl FnOnce() -> Vec<serde_json::Value>,
    ) -> Result<String, String> {
        match self {
            Self::Table => Ok(table()),
            Self::Json => Ok(rows().iter_mut().map(|row| json::line(without_labels(row))).collect()),
            Self::Template(template) => template.draw(heads, &rows()),
        }
    }
}

fn without_labels(row: &mut serde_json::Value) -> &serde_json::Value {
    if let Some(fields) = row.as_object_mut() {
        fields.shift_remove(LABEL_FIELD);
    }
    row
}

/// What Docker writes over columns whose fields are called otherwise; the others have their field's name.
pub type Heads = [(&'static str, &'static str)];

impl Template {
    fn draw(&self, heads: &Heads, rows: &[serde_json::Value]) -> Result<String, String> {
        let template = self.parsed().map_err(|error| error.to_string())?;
        let head = rows.first().filter(|_| self.is_table).map(|row| head_of(heads, row));
        let mut lines = Vec::new();
        for row in head.iter().chain(rows) {
            let data = gotmpl::to_value(row).map_err(|error| error.to_string())?;
            lines.push(template.execute_to_string(&data).map_err(|error| explained(&error, row))?);
        }
        lines.push(String::new());
        Ok(if self.is_table { aligned(&lines) } else { lines.join("\n") })
    }

    fn parsed(&self) -> Result<gotmpl::Template, TemplateError> {
        static LABEL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"((?:\$\w*)?\.Label)(\s+)").expect("it is one"));
        // What is a method in Go is a function of what it is a method of.
        let text = LABEL.replace_all(&self.text, "label $1$2");
        let template = gotmpl::Template::new("").missing_key(MissingKey::Error);
        let template =
            FUNCTIONS.iter().fold(template, |template, (name, function)| template.func(name, |args| Ok(function(args))));
        template.parse(&text)
    }
}

type Function = fn(&[Value]) -> Value;

/// What Docker adds to the functions of Go's templates (docker/cli `templates/templates.go`), and `label`.
const FUNCTIONS: [(&str, Function); 9] = [
    ("json", |args| text(args.first().map(to_json).unwrap_or_default().to_string())),
    ("lower", |args| text(string(args, 0).to_lowercase())),
    ("upper", |args| text(string(args, 0).to_uppercase())),
    ("title", |args| text(title(&string(args, 0)))),
    ("split", |args| Value::List(string(args, 0).split(&string(args, 1)).map(|part| text(part.to_owned())).collect())),
    ("join", |args| text(items(args).iter().map(ToString::to_string).collect::<Vec<_>>().join(&string(args, 1)))),
    ("pad", |args| text(format!("{}{}{}", spaces(args, 1), string(args, 0), spaces(args, 2)))),
    ("truncate", |args| text(string(args, 0).chars().take(number(args, 1)).collect())),
    ("label", |args| text(label(args))),
];

fn text(text: String) -> Value {
    Value::String(text.into())
}

fn string(args: &[Value], at: usize) -> String {
    args.get(at).map(ToString::to_string).unwrap_or_default()
}

fn number(args: &[Value], at: usize) -> usize {
    args.get(at).and_then(Value::as_int).and_then(|number| usize::try_from(number).ok()).unwrap_or(0)
}

/// More spaces than any line has room for are nobody's wish.
fn spaces(args: &[Value], at: usize) -> String {
    " ".repeat(number(args, at).min(1000))
}

fn items(args: &[Value]) -> &[Value] {
    if let Some(Value::List(items)) = args.first() { items } else { &[] }
}

fn title(text: &str) -> String {
    let word = |word: &str| word.chars().next().map(|first| first.to_uppercase().chain(word.chars().skip(1)).collect::<String>());
    text.split(' ').map(|part| word(part).unwrap_or_default()).collect::<Vec<_>>().join(" ")
}

/// The value of a label, nothing where there is none; over a column the last part of its name.
fn label(args: &[Value]) -> String {
    let name = string(args, 1);
    match args.first() {
        Some(Value::Map(labels)) => labels.get(name.as_str()).map(ToString::to_string).unwrap_or_default(),
        Some(_) | None => name.rsplit('.').next().unwrap_or_default().to_owned(),
    }
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(is) => (*is).into(),
        Value::Int(number) => (*number).into(),
        Value::Uint(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::String(text) => text.as_ref().into(),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(fields) => {
            let fields = fields.iter().filter(|(name, _)| name.as_ref() != LABEL_FIELD);
            fields.map(|(name, value)| (name.to_string(), to_json(value))).collect()
        }
        Value::Nil | Value::Function(_) => serde_json::Value::Null,
    }
}

/// Where `.Label "name"` looks.
pub const LABEL_FIELD: &str = "Label";

/// The row of heads, for a table with these fields.
fn head_of(heads: &Heads, row: &serde_json::Value) -> serde_json::Value {
    let fields = row.as_object().into_iter().flatten().map(|(field, _)| {
        let head =
            heads.iter().find(|(name, _)| name == field).map_or_else(|| field.to_uppercase(), |(_, head)| (*head).to_owned());
        (field.clone(), serde_json::Value::String(head))
    });
    fields.collect()
}

fn explained(error: &TemplateError, row: &serde_json::Value) -> String {
    match error {
        TemplateError::MissingKey { key } => {
            let fields = row.as_object().into_iter().flatten().map(|(field, _)| field.as_str());
            format!("there is no field `{key}`; there are {}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Columns as Docker aligns them: three spaces apart, none narrower than ten with them; what follows the last tab is no column. The last
/// line is what follows the last line end.
fn aligned(lines: &[String]) -> String {
    const GAP: usize = 3;
    const LEAST: usize = 10;
    let rows: Vec<Vec<&str>> = lines.iter().flat_map(|line| line.split('\n')).map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        let columns = &row[..row.len() - 1];
        widths.resize(widths.len().max(columns.len()), LEAST);
        for (width, cell) in widths.iter_mut().zip(columns) {
            *width = (*width).max(console::measure_text_width(cell) + GAP);
        }
    }
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        if number > 0 {
            text.push('\n');
        }
        for (index, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if index + 1 < row.len() {
                text.push_str(&" ".repeat(widths[index].saturating_sub(console::measure_text_width(cell))));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn drawn(format: &str) -> Result<String, String> {
        let rows = [
            json!({"Name": "t6-db-1", "ID": "614ea03d9089", "State": "running", "ExitCode": 0, "Label": {"a.b": "c"},
                "Publishers": [{"PublishedPort": 18099, "TargetPort": 80}]}),
            json!({"Name": "t6-web-1", "ID": "d1e71803f721", "State": "exited", "ExitCode": 7, "Label": {}, "Publishers": []}),
        ];
        let format: Format = format.parse()?;
        format.draw(|| unreachable!("no table is asked for"), &[("ID", "CONTAINER ID")], || rows.to_vec())
    }

    /// What Compose 5.6.1 prints for the same.
    #[test]
    fn rows_look_as_docker_draws_them() {
        for (format, expected) in [
            ("{{.Name}}", "t6-db-1\nt6-web-1\n"),
            (r"{{.Name}}\t{{.ExitCode}}", "t6-db-1\t0\nt6-web-1\t7\n"),
            (
                r"table {{.Name}}\t{{.ID}}\t{{.State}}",
                "NAME       CONTAINER ID   STATE\nt6-db-1    614ea03d9089   running\nt6-web-1   d1e71803f721   exited\n",
            ),
            ("table {{.ExitCode}}\t{{.ID}}", "EXITCODE   CONTAINER ID\n0          614ea03d9089\n7          d1e71803f721\n"),
            (r#"{{.Label "a.b"}}|{{upper .Name}}"#, "c|T6-DB-1\n|T6-WEB-1\n"),
            (r#"table {{.Label "a.b"}}"#, "b\nc\n\n"),
            ("{{range .Publishers}}{{.PublishedPort}}->{{.TargetPort}}{{end}}", "18099->80\n\n"),
            (
                r#"{{split .Name "-"}} {{join (split .Name "-") "+"}} {{title .State}} {{truncate .Name 3}} {{pad .Name 1 2}}|"#,
                "[t6 db 1] t6+db+1 Running t6-  t6-db-1  |\n[t6 web 1] t6+web+1 Exited t6-  t6-web-1  |\n",
            ),
            (r#"{{if eq .State "running"}}{{.Name}}{{end}}"#, "t6-db-1\n\n"),
            (r#"{{printf "%-9s" .Name}}|"#, "t6-db-1  |\nt6-web-1 |\n"),
            ("{{json .Publishers}}", "[{\"PublishedPort\":18099,\"TargetPort\":80}]\n[]\n"),
        ] {
            assert_eq!(drawn(format).as_deref(), Ok(expected), "{format}");
        }
        let objects = drawn("{{json .}}").unwrap();
        let first: serde_json::Value = serde_json::from_str(objects.lines().next().unwrap()).unwrap();
        assert_eq!((&first["Name"], first.get("Label")), (&json!("t6-db-1"), None));
    }

    #[test]
    fn a_format_that_is_none_is_told_with_what_there_is() {
        assert_eq!("table".parse(), Ok(Format::Table));
        assert_eq!("json".parse(), Ok(Format::Json));
        for (format, expected) in [
            ("jsn", "expected `table`, `json`, or a Go template"),
            ("{{", "unclosed action"),
            ("{{nosuch .Name}}", "nosuch"),
            ("{{.Foo}}", "there is no field `Foo`; there are Name, ID, State, ExitCode"),
            ("table {{.Foo}}", "there is no field `Foo`"),
        ] {
            let error = drawn(format).unwrap_err();
            assert!(error.contains(expected), "{format}: {error}");
        }
        let template: Format = "table {{.Name}}".parse().unwrap();
        let drawn = template.draw(|| unreachable!("no table is asked for"), &[], Vec::new);
        assert_eq!(drawn.as_deref(), Ok(""), "of nothing there are no heads either");
    }
}
