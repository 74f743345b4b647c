//! Measured steps as a trace for Perfetto or chrome://tracing.

use super::step::Step;
use serde_json::{Value, json};
use std::time::Duration;

/// Steps and calls as complete events of Chrome's trace format: microseconds, nested by time.
pub(super) fn events(steps: &[Step]) -> Value {
    let event = |name: &str, start: Duration, took: Duration, args: Value| {
        json!({
            "name": name, "ph": "X", "pid": 1, "tid": 1, "args": args,
            "ts": start.as_secs_f64() * 1e6, "dur": took.as_secs_f64() * 1e6,
        })
    };
    let mut events = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        events.push(event("step", step.start, step.took, json!({ "number": i + 1 })));
        for call in &step.calls {
            let work = call.work;
            let args = json!({ "shape": work.shape.to_string(), "flop": work.flop, "bytes": work.bytes });
            events.push(event(call.name, call.start, call.took, args));
        }
    }
    Value::Array(events)
}

#[cfg(test)]
mod tests {
    use super::super::args::What;
    use super::super::step::tests::steps;
    use super::*;

    #[test]
    fn the_trace_holds_each_call_inside_its_step() {
        let steps = steps(What::Explain);
        let events = events(&steps);
        let of = |i: usize| {
            let number = |key: &str| events[i][key].as_f64().unwrap();
            (number("ts"), number("ts") + number("dur"))
        };
        let mut at = 0;
        for step in &steps {
            assert_eq!(events[at]["name"], "step");
            assert!(step.calls.iter().any(|call| call.name == "ratios"), "relevance rules are calls");
            let (start, end) = of(at);
            for call in 1..=step.calls.len() {
                let (from, to) = of(at + call);
                assert!(from >= start && to <= end + 1e-3, "{from}..{to} in {start}..{end}");
            }
            at += 1 + step.calls.len();
        }
        assert_eq!(events.as_array().unwrap().len(), at);
    }
}
