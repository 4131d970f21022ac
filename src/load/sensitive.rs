//! What looks like a secret: variables by their names, texts by their form. The forms are those that Compose looks for before it publishes
//! a stack (DefangLabs/secret-detector); nobody is sure of them, so that they are asked about.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

/// Parts of names that secrets have.
static NAME: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"(?i)(?:api|access|auth|service|account|db|database|priv|private|client)[-_]?key|(?:db|database|key)[-_]?pass|password|passwd|pwd|secret|token|contrase[ñn]a",
    )
});

/// A name and a value in one line of YAML, JSON, or a file of variables.
static LINE: LazyLock<Regex> = LazyLock::new(|| compiled(r#"^[\s\-{,]*["']?([\w.\-]+)["']?\s*[:=]\s*["']?([^"'\s#]+)"#));

/// What is one whatever it is called.
static FORMS: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
    [
        (
            "a private key",
            r"BEGIN (?:(?:DSA|EC|OPENSSH|RSA|SSH2 ENCRYPTED) )?PRIVATE KEY|BEGIN PGP PRIVATE KEY BLOCK|PuTTY-User-Key-File-",
        ),
        ("a client id of AWS", r"(?:A3T[A-Z0-9]|AKIA|AGPA|AIDA|AROA|AIPA|ANPA|ANVA|ASIA)[A-Z0-9]{16}"),
        ("a secret key of AWS", r#"(?:AWS|aws).{0,20}['"][0-9a-zA-Z/+]{40}['"]"#),
        ("a key of Amazon MWS", r"amzn\.mws\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        ("a key of Azure storage", r"AccountKey=[a-zA-Z0-9+/=]{88}"),
        ("a token of GitHub", r"gh[pousr]_[A-Za-z0-9_]{36}"),
        ("a token of npm", r"_authToken=[^${\s]\S+"),
        ("a token of Slack", r"(?:(?:xoxe\.)?xox[bp]|xox[aeosr]|xapp)-\d+-[-a-zA-Z0-9]+"),
        ("a key of Stripe", r"[rs]k_(?:live|test)_[0-9a-zA-Z]{24}"),
        ("a key of SendGrid", r"SG\.[a-zA-Z0-9_-]{22}\.[a-zA-Z0-9_-]{43}"),
        ("a key of Square", r"sq0atp-[0-9A-Za-z\\_-]{22}|sq0csp-[0-9A-Za-z\\_-]{43}"),
        ("a key of Twilio", r"\b(?:AC|SK)[0-9a-fA-F]{32}\b"),
        ("a key of Mailchimp", r"\b[0-9a-z]{32}-us[0-9]{1,2}\b"),
        ("a JSON web token", r"eyJ[A-Za-z0-9_=-]+\.eyJ[A-Za-z0-9_=-]+"),
        ("a login of HTTP", r#"(?i)authorization["']? *[:=] *["']?(?:basic|bearer) +[a-z0-9+/,_.=-]{8,}"#),
        ("an address with a password", r"[a-z][a-z0-9+.-]+://[^:/\s]+:[^@:\s$][^@:\s]*@"),
    ]
    .into_iter()
    .map(|(what, form)| (what, compiled(form)))
    .collect()
});

/// Of a value that is a secret by its name alone: so many bits for each character, below which it is a word.
const ENTROPY: f64 = 4.0;

fn compiled(form: &str) -> Regex {
    Regex::new(form).expect("a form of ours")
}

/// Whether a value stands there itself, and is not filled in.
pub(super) fn is_literal(value: &str) -> bool {
    // `$$` is a `$` that is meant.
    let value = value.replace("$$", "X");
    let value = value.trim();
    value.chars().count() >= 3 && !value.starts_with(['$', '{']) && !value.ends_with('}')
}

/// Whether a variable holds a secret, by its name.
pub(super) fn is_secret(name: &str, value: &str) -> bool {
    NAME.is_match(name) && is_literal(value)
}

/// What looks like a secret in a text: the line, from 1, and what it seems to be.
pub fn secrets_in(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let form = FORMS.iter().find(|(_, form)| form.is_match(line)).map(|(what, _)| *what);
        let by_name = || {
            let pair = LINE.captures(line)?;
            let (name, value) = (pair.get(1)?.as_str(), pair.get(2)?.as_str());
            (is_secret(name, value) && entropy(value) > ENTROPY).then_some("what is called a secret")
        };
        found.extend(form.or_else(by_name).map(|what| (number, what)));
    }
    found
}

/// Shannon's, in bits for each character.
fn entropy(text: &str) -> f64 {
    let mut counts: HashMap<char, f64> = HashMap::new();
    text.chars().for_each(|c| *counts.entry(c).or_default() += 1.0);
    let length = text.chars().count() as f64;
    -counts.values().map(|count| count / length * (count / length).log2()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_form_or_name() {
        for (line, expected) in [
            ("      AWS_ACCESS_KEY_ID: A3TX1234567890ABCDEF", "a client id of AWS"),
            ("  - GITHUB_TOKEN=ghp_1234567890abcdefghijklmnopqrstuvwxyz", "a token of GitHub"),
            ("-----BEGIN DSA PRIVATE KEY-----", "a private key"),
            ("-----BEGIN PRIVATE KEY-----", "a private key"),
            ("DB=postgres://me:hunter2@db/x", "an address with a password"),
            ("DB=postgres://me:${PASSWORD}@db/x", ""),
            ("jwt: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc", "a JSON web token"),
            ("    DB_PASSWORD: kXq9+Zt3Lw8Rm2Vb7Yc5", "what is called a secret"),
            ("    DB_PASSWORD: password", ""),
            ("    DB_PASSWORD: ${DB_PASSWORD}", ""),
            ("    image: ghcr.io/me/app:1", ""),
        ] {
            let found: Vec<&str> = secrets_in(line).into_iter().map(|(_, what)| what).collect();
            assert_eq!(found.join(" "), expected, "{line}");
        }
        assert_eq!(secrets_in("a\nsk_live_0123456789abcdefghijABCD\n"), [(2, "a key of Stripe")]);
    }

    #[test]
    fn what_is_filled_in_is_no_secret() {
        for (name, value, expected) in [
            ("MYSQL_ROOT_PASSWORD", "root", true),
            ("api-key", "abc", true),
            ("TOKEN", "${TOKEN}", false),
            ("TOKEN", "$TOKEN", false),
            ("TOKEN", "$$abc", true),
            ("TOKEN", "", false),
            ("MODE", "production", false),
        ] {
            assert_eq!(is_secret(name, value), expected, "{name}={value}");
        }
    }
}
