//! Which key signs when: each for a period, and the next one is made and given out a whole period before its turn.

/// How long a key signs, in seconds: a week.
const PERIOD: u64 = 7 * 24 * 3600;

/// How long a key is given out after its last signature, in seconds. More than the life of a token and the wrongness of
/// clocks.
const AFTERLIFE: u64 = 3600;

/// When a key signs: from the first second up to, and without, the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

impl Span {
    fn starting(from: u64) -> Self {
        Self { from, until: from.saturating_add(PERIOD) }
    }

    /// Whether it is this key's turn.
    pub(crate) fn covers(self, now: u64) -> bool {
        self.from <= now && now < self.until
    }

    /// Whether a token that it signed may still be in circulation, or will be.
    pub(crate) fn is_of_use(self, now: u64) -> bool {
        now < self.until.saturating_add(AFTERLIFE)
    }
}

/// The spans of the keys that have to be made, given those of the keys that are of use, in order.
pub(crate) fn due(spans: &[Span], now: u64) -> Vec<Span> {
    let mut due = Vec::new();
    if !spans.iter().any(|span| span.covers(now)) {
        // None yet, or nobody asked for a period and more. A clock that went back gets a key for the time until the first
        // one's turn.
        let mut span = Span::starting(now);
        if let Some(next) = spans.iter().map(|it| it.from).filter(|from| *from > now).min() {
            span.until = span.until.min(next);
        }
        due.push(span);
    }
    let last = spans.iter().chain(&due).max_by_key(|span| span.from).copied();
    if let Some(last) = last.filter(|last| last.from <= now) {
        due.push(Span::starting(last.until));
    }
    due
}

/// The spans when the key whose turn it is gives way to the next one at once.
pub(crate) fn rotated(spans: &mut [Span], now: u64) {
    let Some(present) = spans.iter().position(|span| span.covers(now)) else { return };
    let next = (0..spans.len()).filter(|&n| spans[n].from > now).min_by_key(|&n| spans[n].from);
    if let Some(next) = next {
        spans[present].until = now;
        spans[next] = Span::starting(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The spans after what is due was made and what is of no use removed.
    fn kept(spans: &[Span], now: u64) -> Vec<Span> {
        let mut spans: Vec<Span> = spans.iter().copied().filter(|span| span.is_of_use(now)).collect();
        spans.extend(due(&spans, now));
        spans.sort_by_key(|span| span.from);
        assert_eq!(due(&spans, now), [], "once is enough");
        spans
    }

    #[test]
    fn there_is_always_one_key_for_now_and_one_for_later() {
        let steps = [0, 1, 60, PERIOD - 61, 1, PERIOD, PERIOD + AFTERLIFE, 5 * PERIOD, 30, PERIOD / 2, PERIOD / 2];
        let (mut spans, mut now) = (Vec::new(), 1_700_000_000);
        for step in steps {
            now += step;
            spans = kept(&spans, now);
            assert_eq!(spans.iter().filter(|span| span.covers(now)).count(), 1, "{spans:?}");
            assert_eq!(spans.iter().filter(|span| span.from > now).count(), 1, "{spans:?}");
            assert!(spans.len() <= 4, "{spans:?}");
        }
        let back = kept(&spans, now - 3 * PERIOD);
        assert_eq!(back.iter().filter(|span| span.covers(now - 3 * PERIOD)).count(), 1, "{back:?}");
    }

    #[test]
    fn a_key_in_use_was_given_out_a_period_before() {
        let now = 1_700_000_000;
        let spans = kept(&[], now);
        let later = kept(&spans, spans[1].from);
        assert!(later.iter().any(|span| *span == spans[1] && span.covers(spans[1].from)));
        assert_eq!(spans[1].from - now, PERIOD);
    }

    #[test]
    fn rotating_brings_the_next_one_forward_and_keeps_the_old_one_for_a_while() {
        let now = 1_700_000_000;
        let mut spans = kept(&[], now);
        rotated(&mut spans, now + 10);
        assert_eq!(spans, [Span { from: now, until: now + 10 }, Span::starting(now + 10)]);
        assert!(spans[0].is_of_use(now + 10 + AFTERLIFE - 1) && !spans[0].is_of_use(now + 10 + AFTERLIFE));
        let spans = kept(&spans, now + 10);
        assert_eq!(spans.len(), 3);
        // Twice within a second.
        let mut again = spans.clone();
        rotated(&mut again, now + 10);
        assert_eq!(again.iter().filter(|span| span.covers(now + 10)).count(), 1, "{again:?}");
    }
}
