//! Numbers and times as people read them.

use super::super::series::Seconds;

const DAY: Seconds = 86_400;
const HOUR: Seconds = 3_600;

/// Three significant digits; very large and very small ones with an exponent.
#[must_use]
pub fn figure(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e7).contains(&size) {
        return format!("{number:.2e}");
    }
    let digits = (2 - size.log10().floor() as i32).max(0) as usize;
    format!("{number:.digits$}")
}

/// A share in percent, with its sign.
#[must_use]
pub fn percent(share: f64) -> String {
    let text = figure(share * 100.0);
    if share > 0.0 { format!("+{text} %") } else { format!("{text} %") }
}

/// A length of time in its largest sensible unit.
#[must_use]
pub fn duration(seconds: Seconds) -> String {
    let (number, unit) = match seconds {
        _ if seconds >= 2 * DAY => (seconds as f64 / DAY as f64, "days"),
        _ if seconds >= 2 * HOUR => (seconds as f64 / HOUR as f64, "hours"),
        _ => ((seconds as f64 / 60.0).ceil(), "minutes"),
    };
    format!("{number:.0} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let rows = [
            (0.0, "0"),
            (1.0, "1.00"),
            (-12.345, "-12.3"),
            (1_234.5, "1234"),
            (0.001_234, "0.00123"),
            (1e-9, "1.00e-9"),
        ];
        for (number, text) in rows {
            assert_eq!(figure(number), text);
        }
        assert_eq!((percent(0.05), percent(-0.5)), ("+5.00 %".to_owned(), "-50.0 %".to_owned()));
        assert_eq!([duration(30), duration(7_200), duration(3 * DAY)], ["1 minutes", "2 hours", "3 days"]);
    }
}
