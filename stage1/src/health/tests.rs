use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn report() -> HealthReport {
    HealthReport::again(VecDeque::new())
}

fn outcome(verdict: Verdict, output: &[u8], since_start: Duration) -> Outcome<'_> {
    Outcome { verdict, output, start_ns: 1, end_ns: 2, since_start }
}

fn after(report: &mut HealthReport, check: &Healthcheck, code: i32, seconds: u64) -> bool {
    judge(report, check, outcome(Verdict::Ended(code), b"said\n", Duration::from_secs(seconds)))
}

#[test]
fn what_docker_writes_is_understood() {
    let json = r#"{"Test":["CMD-SHELL","curl -f http://localhost/ || exit 1"],"Interval":5000000000,"Retries":2}"#;
    let check = Healthcheck::parse(json).unwrap();
    assert_eq!(check.command().unwrap(), ["/bin/sh", "-c", "curl -f http://localhost/ || exit 1"]);
    assert_eq!((check.longest(), check.retries), (USUAL, 2));
    assert_eq!(serde_json::to_string(&check).unwrap(), json);
    let direct = Healthcheck::parse(r#"{"Test":["CMD","/bin/probe","-x"],"StartInterval":1,"Unknown":7}"#);
    assert!(matches!(direct, Err(BadHealthcheck::Short { field: "StartInterval", .. })));
    let direct = Healthcheck::parse(r#"{"Test":["CMD","/bin/probe","-x"],"Unknown":7}"#).unwrap();
    assert_eq!(direct.command().unwrap(), ["/bin/probe", "-x"]);
    for none in [
        r#"{"Test":["NONE"]}"#,
        "{}",
        r#"{"Interval":null,"Retries":null}"#,
        r#"{"Test":null}"#,
        r#"{"Test":[],"Retries":1}"#,
    ] {
        assert_eq!(Healthcheck::parse(none).unwrap().command(), None, "{none}");
    }
    for wrong in
        [r#"{"Test":["CMD"]}"#, r#"{"Test":["curl"]}"#, r#"{"Test":["CMD-SHELL","a","b"]}"#, r#"{"Interval":-1}"#, "[7"]
    {
        assert!(Healthcheck::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_not_said_is_the_images() {
    let image = Healthcheck::parse(r#"{"Test":["CMD","a"],"Interval":7000000,"Retries":9}"#).unwrap();
    let own = Healthcheck { interval: SECOND, ..Healthcheck::default() };
    let both = own.or(image.clone());
    assert_eq!((both.interval, both.retries, both.command()), (SECOND, 9, image.command()));
    let none = Healthcheck { test: Some(vec!["NONE".to_owned()]), ..Healthcheck::default() };
    assert_eq!(none.or(image).command(), None);
}

#[test]
fn so_many_failures_in_a_row_make_it_unhealthy_and_one_success_makes_it_healthy() {
    let (mut report, check) = (report(), Healthcheck { retries: 2, ..Healthcheck::default() });
    assert!(!after(&mut report, &check, 1, 100));
    assert!(after(&mut report, &check, 0, 100), "starting, then healthy");
    assert_eq!((report.status, report.failing_streak), (HealthStatus::Healthy, 0));
    assert!(!after(&mut report, &check, 1, 100));
    assert!(after(&mut report, &check, 1, 100));
    assert_eq!((report.status, report.failing_streak), (HealthStatus::Unhealthy, 2));
    assert!(!after(&mut report, &check, 1, 100), "it stays unhealthy");
    assert!(after(&mut report, &check, 0, 100));
    for code in 10..20 {
        after(&mut report, &check, code, 100);
    }
    assert_eq!(report.log.iter().map(|check| check.exit_code).collect::<Vec<_>>(), [15, 16, 17, 18, 19]);
    assert_eq!(report.log[0].output, "said\n");
}

#[test]
fn failures_of_the_start_period_do_not_count_until_it_was_healthy() {
    let check = Healthcheck { retries: 1, start_period: 10 * SECOND, ..Healthcheck::default() };
    let mut report = report();
    assert!(!after(&mut report, &check, 1, 9));
    assert_eq!((report.status, report.failing_streak), (HealthStatus::Starting, 0));
    assert_eq!(check.pause(report.status, Duration::from_secs(9)), USUAL_AT_START);
    assert_eq!(check.pause(report.status, Duration::from_secs(11)), USUAL);
    assert!(after(&mut report, &check, 0, 9));
    assert_eq!(check.pause(report.status, Duration::from_secs(9)), USUAL, "it is healthy");
    assert!(after(&mut report, &check, 1, 9), "it was healthy before");
    assert_eq!(report.status, HealthStatus::Unhealthy);
}

#[test]
fn a_check_that_is_late_or_cannot_be_executed_fails_and_says_why() {
    let check = Healthcheck { timeout: 1_500_000_000, ..Healthcheck::default() };
    let mut report = report();
    let mut told = |verdict, output: &[u8]| {
        judge(&mut report, &check, outcome(verdict, output, Duration::ZERO));
        let last = report.log.back().unwrap();
        (last.exit_code, last.output.clone())
    };
    assert_eq!(told(Verdict::Late, b""), (-1, "Health check exceeded timeout (1.5s)".to_owned()));
    assert_eq!(told(Verdict::Late, b"so far"), (-1, "Health check exceeded timeout (1.5s): so far".to_owned()));
    assert_eq!(told(Verdict::Failed("no such file".to_owned()), b""), (-1, "no such file".to_owned()));
    let (_, long) = told(Verdict::Ended(0), &[b'a'; MAX_OUTPUT + 1]);
    assert_eq!((long.len(), &long[MAX_OUTPUT..]), (MAX_OUTPUT + 3, "..."));
}

proptest! {
    #[test]
    fn whatever_an_image_says_is_a_check_or_an_error(
        text in prop_oneof![".*", r#"\{"(Test|Interval|Retries)":(\[("CMD"|"NONE"|"x"|,){0,4}\]|-?[0-9]{1,22}|null|"")\}"#],
    ) {
        let Ok(check) = Healthcheck::parse(&text) else { return Ok(()) };
        let again = Healthcheck::parse(&serde_json::to_string(&check).unwrap());
        prop_assert_eq!(again.unwrap(), check.clone());
        prop_assert!(check.command().is_none_or(|command| !command.is_empty()));
        prop_assert!(check.pause(HealthStatus::Starting, Duration::ZERO) >= SHORTEST && check.longest() >= SHORTEST);
    }
}
