//! A plan on the screen: the text of `plan::render`, with colours.

use super::style::Paint;

/// Colours each line by what is done in it.
pub fn colored(text: &str, paint: Paint) -> String {
    let mut colored = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
        let has = |verb: &str| body.split_ascii_whitespace().any(|word| word == verb);
        colored.push_str(&if ["stop", "kill", "remove"].into_iter().any(has) {
            paint.warn(body)
        } else if ["create", "start", "build", "pull", "run"].into_iter().any(has) {
            paint.good(body)
        } else {
            body.to_owned()
        });
        colored.push_str(end);
    }
    colored
}
