//! Tables as `docker` prints them: columns three spaces apart, no lines, nothing at a line's end.

use console::measure_text_width;

/// Between two columns.
const GAP: &str = "   ";

/// Rows of text under a head.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).to_vec()] }
    }

    /// A table whose columns are known only when it is drawn.
    pub fn of(head: Vec<String>, rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        let mut table = Self { rows: vec![head] };
        table.rows.extend(rows.into_iter().map(|row| row.iter().map(|cell| cell.replace('\n', " ")).collect()));
        table
    }

    /// Adds a row. Cells may hold colours; line ends become spaces.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| cell.replace('\n', " ")).to_vec());
    }

    /// Shortens the cells of a column, to no less than `least`, until no line is longer than `width`.
    pub fn fit(&mut self, column: &str, width: usize, least: usize) {
        let Some(column) = self.rows[0].iter().position(|head| head == column) else { return };
        let widths = self.widths();
        let others: usize = widths.iter().enumerate().filter(|(index, _)| *index != column).map(|(_, width)| width).sum();
        let room = width.saturating_sub(others + GAP.len() * (widths.len() - 1)).max(least);
        for cell in self.rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            *cell = shortened(cell, room);
        }
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| measure_text_width(cell)).max();
        (0..columns).map(|column| width(column).unwrap_or(0)).collect()
    }

    /// The table, with a line end after each row.
    pub fn render(&self) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.push_str(&" ".repeat(width - measure_text_width(cell)));
                line.push_str(GAP);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// At most `width` columns of a text, with `…` for what is cut off (as `docker ps` does).
pub fn shortened(text: &str, width: usize) -> String {
    console::truncate_str(text, width, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_on_the_screen() {
        let mut table = Table::new(["NAME", "STATE"]);
        table.row(["数据".to_owned(), "running".to_owned()]);
        table.row(["\u{1b}[31mweb-1-long\u{1b}[0m".to_owned(), "up\nwell".to_owned()]);
        table.row(["a".to_owned(), String::new()]);
        assert_eq!(table.render(), "NAME         STATE\n数据         running\n\u{1b}[31mweb-1-long\u{1b}[0m   up well\na\n");
    }

    #[test]
    fn one_column_gives_way_until_the_lines_fit() {
        let table = |width| {
            let mut table = Table::new(["NAME", "STATE", "PID"]);
            table.row(["web-1".to_owned(), "\u{1b}[31mfailed: no such file\u{1b}[0m".to_owned(), "4711".to_owned()]);
            table.fit("STATE", width, 8);
            table.render()
        };
        let whole = "NAME    STATE                  PID\nweb-1   \u{1b}[31mfailed: no such file\u{1b}[0m   4711\n";
        assert_eq!((table(35), table(80)), (whole.to_owned(), whole.to_owned()));
        assert_eq!(table(34), "NAME    STATE                 PID\nweb-1   \u{1b}[31mfailed: no such fi…\u{1b}[0m   4711\n");
        for width in [20, 0] {
            assert_eq!(table(width), "NAME    STATE      PID\nweb-1   \u{1b}[31mfailed:…\u{1b}[0m   4711\n", "{width}");
        }
    }

    #[test]
    fn what_is_cut_off_is_marked() {
        assert_eq!(shortened("docker-entrypoint.sh postgres", 20), "docker-entrypoint.s…");
        assert_eq!(shortened("short", 20), "short");
    }
}
