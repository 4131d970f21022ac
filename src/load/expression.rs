//! The grammar of `${…}`: text → pieces, and pieces → text.
//!
//! `$NAME`, `${NAME}`, and in braces `-`, `?` and `+` with or without a colon, nested to any sensible depth (Compose Specification,
//! "Interpolation"). Who is asked for values and what becomes of faults is the caller's business.

use std::ops::Range;

use super::interpolate::Mention;

/// How deep expressions may stand in each other.
const MAX_DEPTH: usize = 64;

/// Which signs mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Of stack files and `.env`: `$NAME` too, and `$$` is a `$`.
    Compose,
    /// Of templates: braces only, and `$${` is a `${`.
    Template,
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Literal(&'a str),
    Variable { name: &'a str, operator: Option<Operator<'a>>, at: Range<usize> },
}

/// What stands after the name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Operator<'a> {
    pub(super) kind: OperatorKind,
    /// With a colon, an empty value counts as none.
    pub(super) empty_counts_as_unset: bool,
    /// One that is not needed may have any fault, as in Compose.
    pub(super) word: Result<Vec<Piece<'a>>, Malformed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OperatorKind {
    /// `-`: the word if there is no value.
    Default,
    /// `?`: an error with the word if there is no value.
    Required,
    /// `+`: the word if there is a value, else nothing.
    Alternative,
}

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed {
    /// The expression, in the text.
    pub(super) at: Range<usize>,
    pub(super) reason: &'static str,
}

/// Why an expression has no value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoValue {
    /// `${NAME?message}`.
    Required { name: String, is_empty: bool, message: String, at: Range<usize> },
    /// The word that is needed is no text with expressions.
    Malformed(Malformed),
    /// The result is longer than the caller allows.
    TooLong,
}

/// A name without operator that had no value, and where it stands.
pub(super) type Missing<'a> = (&'a str, Range<usize>);

/// Takes a text apart.
pub(super) fn parse(text: &str, dialect: Dialect) -> Result<Vec<Piece<'_>>, Malformed> {
    pieces(text, 0, dialect, 0)
}

fn pieces(text: &str, offset: usize, dialect: Dialect, depth: usize) -> Result<Vec<Piece<'_>>, Malformed> {
    let mut pieces = Vec::new();
    let mut literal = 0;
    let mut from = 0;
    while let Some(dollar) = text[from..].find('$').map(|at| from + at) {
        let after = &text[dollar + 1..];
        let is_escape = match dialect {
            Dialect::Compose => after.starts_with('$'),
            Dialect::Template => after.starts_with("${"),
        };
        let (piece, end) = if is_escape {
            (Some(Piece::Literal("$")), dollar + 2)
        } else if after.starts_with('{') {
            let (piece, end) = braced(text, dollar, offset, dialect, depth)?;
            (Some(piece), end)
        } else {
            let name = name_at(after);
            let end = dollar + 1 + name.len();
            let at = offset + dollar..offset + end;
            let is_variable = dialect == Dialect::Compose && !name.is_empty();
            // A `$` before anything else is itself.
            (is_variable.then_some(Piece::Variable { name, operator: None, at }), end)
        };
        if let Some(piece) = piece {
            if literal < dollar {
                pieces.push(Piece::Literal(&text[literal..dollar]));
            }
            pieces.push(piece);
            literal = end;
        }
        from = end;
    }
    if literal < text.len() {
        pieces.push(Piece::Literal(&text[literal..]));
    }
    Ok(pieces)
}

fn braced(text: &str, dollar: usize, offset: usize, dialect: Dialect, depth: usize) -> Result<(Piece<'_>, usize), Malformed> {
    let fault = |end: usize, reason| Malformed { at: offset + dollar..offset + end, reason };
    let Some(close) = closing(&text[dollar..], dialect).map(|at| dollar + at) else {
        return Err(fault(text.len(), "its `}` is missing"));
    };
    let end = close + 1;
    if depth == MAX_DEPTH {
        return Err(fault(end, "it stands in too many others"));
    }
    let inside = &text[dollar + 2..close];
    let name = name_at(inside);
    if name.is_empty() {
        return Err(fault(end, "the name of a variable must follow `${`"));
    }
    let at = offset + dollar..offset + end;
    let rest = &inside[name.len()..];
    if rest.is_empty() {
        return Ok((Piece::Variable { name, operator: None, at }, end));
    }
    let (empty_counts_as_unset, rest) = rest.strip_prefix(':').map_or((false, rest), |rest| (true, rest));
    let kind = match rest.chars().next() {
        Some('-') => OperatorKind::Default,
        Some('?') => OperatorKind::Required,
        Some('+') => OperatorKind::Alternative,
        _ => return Err(fault(end, "after the name only `}`, `-`, `:-`, `?`, `:?`, `+` or `:+` may follow")),
    };
    let word = pieces(&rest[1..], offset + close - (rest.len() - 1), dialect, depth + 1);
    let word = if dialect == Dialect::Template { Ok(word?) } else { word };
    Ok((Piece::Variable { name, operator: Some(Operator { kind, empty_counts_as_unset, word }), at }, end))
}

/// The `}` that belongs to the `${` that the text begins with.
///
/// In Compose every `{` wants its `}`; if they do not come out even, the last one of the line closes. In a template, which may be JSON
/// that is cut anywhere, only `${` counts.
fn closing(text: &str, dialect: Dialect) -> Option<usize> {
    let text = if dialect == Dialect::Compose { text.split('\n').next().unwrap_or_default() } else { text };
    let mut open = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' if dialect == Dialect::Compose || text[..at].ends_with('$') => open += 1,
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    text.rfind('}').filter(|_| dialect == Dialect::Compose)
}

/// The name that a text begins with: `[_a-zA-Z][_a-zA-Z0-9]*`.
fn name_at(text: &str) -> &str {
    let is_name = |(at, byte): (usize, u8)| byte == b'_' || byte.is_ascii_alphabetic() || at > 0 && byte.is_ascii_digit();
    let length = text.bytes().enumerate().take_while(|&byte| is_name(byte)).count();
    &text[..length]
}

/// Puts the pieces together again, with values, at most `limit` bytes. Of a name without a value nothing is put there, and it is added
/// to `missing`. What is not needed (the default of a variable that has a value) is not looked at.
pub(super) fn evaluate<'a, 'v>(
    pieces: &[Piece<'a>],
    limit: usize,
    get: &dyn Fn(&str) -> Option<&'v str>,
    missing: &mut Vec<Missing<'a>>,
) -> Result<String, NoValue> {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.push_str(text),
            Piece::Variable { name, operator: None, at } => match get(name) {
                Some(value) => out.push_str(value),
                None => missing.push((name, at.clone())),
            },
            Piece::Variable { name, operator: Some(operator), at } => {
                let value = get(name).filter(|value| !(operator.empty_counts_as_unset && value.is_empty()));
                let mut word = || match &operator.word {
                    Ok(word) => evaluate(word, limit, get, missing),
                    Err(fault) => Err(NoValue::Malformed(fault.clone())),
                };
                match (operator.kind, value) {
                    (OperatorKind::Default | OperatorKind::Required, Some(value)) => out.push_str(value),
                    (OperatorKind::Default, None) | (OperatorKind::Alternative, Some(_)) => out.push_str(&word()?),
                    (OperatorKind::Alternative, None) => {}
                    (OperatorKind::Required, None) => {
                        let (name, is_empty) = ((*name).to_owned(), get(name).is_some());
                        return Err(NoValue::Required { name, is_empty, message: word()?, at: at.clone() });
                    }
                }
            }
        }
        if out.len() > limit {
            return Err(NoValue::TooLong);
        }
    }
    Ok(out)
}

/// What the pieces of a text say about variables, the outer before the inner.
pub(super) fn mentions<'a>(pieces: &[Piece<'a>], text: &'a str) -> Vec<Mention<'a>> {
    let mut mentions = Vec::new();
    for piece in pieces {
        let Piece::Variable { name, operator, at } = piece else { continue };
        let mut mention = Mention { name, ..Mention::default() };
        if let Some(operator) = operator {
            // After `${`, the name, the sign and perhaps a colon; before `}`.
            let word = at.start + 2 + name.len() + 1 + usize::from(operator.empty_counts_as_unset)..at.end - 1;
            match operator.kind {
                OperatorKind::Default => mention.default = text.get(word),
                OperatorKind::Alternative => mention.alternative = text.get(word),
                OperatorKind::Required => mention.is_required = true,
            }
        }
        mentions.push(mention);
        let words = operator.iter().filter_map(|operator| operator.word.as_ref().ok());
        mentions.extend(words.flat_map(|word| self::mentions(word, text)));
    }
    mentions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str, dialect: Dialect) -> String {
        let pieces = match parse(text, dialect) {
            Ok(pieces) => pieces,
            Err(fault) => return format!("`{}`: {}", &text[fault.at], fault.reason),
        };
        let get = |name: &str| match name {
            "FOO" => Some("first"),
            "BAR" => Some(""),
            "RAW" => Some("$FOO ${FOO}"),
            _ => None,
        };
        let mut missing = Vec::new();
        let result = evaluate(&pieces, 100, &get, &mut missing);
        let missing: Vec<_> = missing.iter().map(|(name, at)| format!(" ({name} at `{}`)", &text[at.clone()])).collect();
        let missing = missing.concat();
        match result {
            Ok(value) => format!("{value}{missing}"),
            Err(NoValue::Required { name, is_empty, message, .. }) => format!("required {name} {is_empty} {message}{missing}"),
            Err(NoValue::Malformed(fault)) => format!("`{}`: {}", &text[fault.at], fault.reason),
            Err(NoValue::TooLong) => "too long".to_owned(),
        }
    }

    #[test]
    fn all_forms_of_the_specification() {
        for (text, expect) in [
            ("This ${BAR} var, $FOO-${FOO}", "This  var, first-first"),
            ("${missing:-def} ${missing-def} ${BAR:-def} ${BAR-def}", "def def def "),
            ("${A:+${A},}B ${FOO:+${FOO},}B ${BAR+x}${BAR:+y}", "B first,B x"),
            ("${A:-${B}}", " (B at `${B}`)"),
            ("${A:-${FOO} ${BAR:-${FOO}}}!", "first first!"),
            ("ok ${SUB:-redis}.${FOO:?}", "ok redis.first"),
            ("${UNSET-myerror?msg} ${FOO?bar-baz}", "myerror?msg first"),
            ("${A?${B}}", "required A false  (B at `${B}`)"),
            ("${BAR:?must not be empty}", "required BAR true must not be empty"),
            ("${BAR?err}|${FOO:-${NOPE:?}}", "|first"),
            ("$$FOO $$$$ $${X} 5$ $ $1 $-", "$FOO $$ ${X} 5$ $ $1 $-"),
            ("${A:-$$x $${y}}", "$x ${y}"),
            ("$RAW", "$FOO ${FOO}"),
            ("${A:-é}é$é", "éé$é"),
            ("$NOPE", " (NOPE at `$NOPE`)"),
            ("x ${", "`${`: its `}` is missing"),
            ("${NOPE", "`${NOPE`: its `}` is missing"),
            ("${}", "`${}`: the name of a variable must follow `${`"),
            ("${ foo}", "`${ foo}`: the name of a variable must follow `${`"),
            ("a ${A:-b ${foo!} c}", "`${foo!}`: after the name only `}`, `-`, `:-`, `?`, `:?`, `+` or `:+` may follow"),
            // Braces that come out even are the word's own; else the last one of the line closes.
            ("${A:-{a}}b}", "{a}b}"),
            ("${A:-a{b{c}d}e}f", "a{b{c}d}ef"),
            ("${A:-{a} ${A:-}}", "{a} "),
            ("${A:-{a}", "{a"),
            ("${A:-a\nb}", "`${A:-a\nb}`: its `}` is missing"),
            // What is not needed is not looked at.
            ("${FOO:-${}} ${FOO:-${BAR?no}} ${FOO:-${x!}", "first first first"),
            ("${foo }", "`${foo }`: after the name only `}`, `-`, `:-`, `?`, `:?`, `+` or `:+` may follow"),
        ] {
            assert_eq!(expand(text, Dialect::Compose), expect, "{text}");
        }
    }

    #[test]
    fn a_template_knows_braces_only() {
        for (text, expect) in [
            ("$FOO ${FOO} $${FOO} $$ $$$${A:-$x}", "$FOO first ${FOO} $$ $$${A:-$x}"),
            ("${A:-$FOO${FOO}}", "$FOOfirst"),
            ("${NOPE}", " (NOPE at `${NOPE}`)"),
        ] {
            assert_eq!(expand(text, Dialect::Template), expect, "{text}");
        }
    }

    #[test]
    fn endless_expressions_are_refused() {
        let deep = format!("{}{}", "${A:-".repeat(100_000), "}".repeat(100_000));
        assert!(expand(&deep, Dialect::Compose).ends_with("it stands in too many others"));
        assert!(expand(&"${A:-".repeat(100_000), Dialect::Compose).ends_with("its `}` is missing"));
        assert_eq!(expand(&"${FOO}".repeat(30), Dialect::Compose), "too long");
    }
}
