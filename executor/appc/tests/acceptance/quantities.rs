//! Resource quantities: what parses, to which amount, and how it prints.

use appc::resource::{Format, Quantity, QuantityError};

fn quantity(text: &str) -> Quantity {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> String {
    text.parse::<Quantity>().expect_err(text).to_string()
}

const FORMAT: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const SUFFIX: &str = "unable to parse quantity's suffix";

/// Text, billionths, canonical text.
const EXACT: [(&str, i128, &str); 51] = [
    ("0", 0, "0"),
    ("0n", 0, "0"),
    ("0Ki", 0, "0"),
    ("00", 0, "0"),
    (".", 0, "0"),
    ("1", 1_000_000_000, "1"),
    ("+1", 1_000_000_000, "1"),
    ("007", 7_000_000_000, "7"),
    ("1.", 1_000_000_000, "1"),
    ("1.G", 1_000_000_000 * 1_000_000_000, "1G"),
    (".001", 1_000_000, "1m"),
    (".0001k", 100_000_000, "100m"),
    ("5n", 5, "5n"),
    ("4u", 4_000, "4u"),
    ("3m", 3_000_000, "3m"),
    ("8k", 8_000 * 1_000_000_000, "8k"),
    ("50k", 50_000 * 1_000_000_000, "50k"),
    ("7M", 7_000_000 * 1_000_000_000, "7M"),
    ("300T", 300_000_000_000_000 * 1_000_000_000, "300T"),
    ("2P", 2_000_000_000_000_000 * 1_000_000_000, "2P"),
    ("1E", 1_000_000_000_000_000_000 * 1_000_000_000, "1E"),
    ("12E", 12_000_000_000_000_000_000 * 1_000_000_000, "12E"),
    ("1Ki", 1024 * 1_000_000_000, "1Ki"),
    ("1024Mi", (1 << 30) * 1_000_000_000, "1Gi"),
    ("1.5Gi", 1536 * (1 << 20) * 1_000_000_000, "1536Mi"),
    ("125952Ki", 128_974_848 * 1_000_000_000, "123Mi"),
    ("128974848", 128_974_848 * 1_000_000_000, "128974848"),
    ("3Ei", (3 << 60) * 1_000_000_000, "3Ei"),
    ("0.5Ki", 512 * 1_000_000_000, "512"),
    ("0.5Mi", (1 << 19) * 1_000_000_000, "512Ki"),
    ("100.035Ki", 102_435_840_000_000, "102435840m"),
    (".001Ki", 1_024_000_000, "1024m"),
    (".000001Ki", 1_024_000, "1024u"),
    (".000000001Ki", 1_024, "1024n"),
    ("1.5", 1_500_000_000, "1500m"),
    ("100.035k", 100_035 * 1_000_000_000, "100035"),
    ("6.987654321G", 6_987_654_321 * 1_000_000_000, "6987654321"),
    ("9.01", 9_010_000_000, "9010m"),
    ("1.01E", 1_010_000_000_000_000_000 * 1_000_000_000, "1010P"),
    ("1e3", 1_000 * 1_000_000_000, "1e3"),
    ("1E-3", 1_000_000, "1e-3"),
    ("1.3E+6", 1_300_000 * 1_000_000_000, "1300e3"),
    ("1e14", 100_000_000_000_000 * 1_000_000_000, "100e12"),
    ("0.5e0", 500_000_000, "500e-3"),
    ("5e0", 5_000_000_000, "5"),
    ("-1.5", -1_500_000_000, "-1500m"),
    ("-3Ki", -3072 * 1_000_000_000, "-3Ki"),
    ("-1", -1_000_000_000, "-1"),
    ("1080000000n", 1_080_000_000, "1080m"),
    ("0.001T", 1_000_000_000 * 1_000_000_000, "1G"),
    ("1025", 1_025_000_000_000, "1025"),
];

#[test]
fn exact_amounts_and_canonical_texts() {
    for (text, nanos, canonical) in EXACT {
        let quantity = quantity(text);
        assert_eq!((quantity.nano_value(), quantity.canonical().as_str()), (nanos, canonical), "{text}");
    }
}

#[test]
fn finer_than_a_billionth_rounds_away_from_zero() {
    for (text, nanos) in [
        ("0.9n", 1),
        ("3.001n", 4),
        ("0.0000000001", 1),
        ("0.00000000050", 1),
        ("0.5e-9", 1),
        ("1.1E-9", 2),
        ("1e-1000000", 1),
        ("0e-1000000", 0),
        ("0.00000012345", 124),
        ("0.000000000001Ki", 2),
        ("-0.9n", -1),
        ("-0.00000012345", -124),
    ] {
        assert_eq!(quantity(text).nano_value(), nanos, "{text}");
    }
    // However many digits it takes to tell: this is a hair above one.
    let hair = format!("1.{}1", "0".repeat(900));
    assert_eq!(quantity(&hair).nano_value(), 1_000_000_001);
    assert_eq!(quantity(&format!("1.{}", "0".repeat(900))).nano_value(), 1_000_000_000);
    assert_eq!(quantity(&format!("{hair}Ei")).nano_value(), (1 << 60) * 1_000_000_000 + 1);
}

#[test]
fn whole_units_and_thousandths_round_away_from_zero() {
    for (text, units, milli) in [
        ("30m", 1, 30),
        ("1", 1, 1000),
        ("1.0001", 2, 1001),
        ("1n", 1, 1),
        ("-1n", -1, -1),
        ("-1500m", -2, -1500),
        ("2Gi", 2_147_483_648, 2_147_483_648_000),
        ("1G", 1_000_000_000, 1_000_000_000_000),
        ("9E", 9_000_000_000_000_000_000, i64::MAX),
        ("12E", i64::MAX, i64::MAX),
        ("-12E", i64::MIN, i64::MIN),
    ] {
        let quantity = quantity(text);
        assert_eq!((quantity.value(), quantity.milli_value()), (units, milli), "{text}");
    }
}

#[test]
fn binary_quantities_are_capped() {
    for text in ["9Ei", "9223372036854775807Ki", "8Ei", &format!("{}Ki", "9".repeat(1000))] {
        assert_eq!((quantity(text).value(), quantity(text).canonical().as_str()), (i64::MAX, "9223372036854775807"));
    }
    assert_eq!(quantity("-9Ei").value(), -i64::MAX);
}

/// Found by fuzzing: the text without a suffix does not say that it was binary.
#[test]
fn a_binary_quantity_that_is_no_whole_kibibyte_prints_without_suffix() {
    let binary = quantity("812.5Ki");
    assert_eq!((binary.value(), binary.canonical().as_str()), (832_000, "832000"));
    assert_eq!(quantity("832000").canonical(), "832k");
}

#[test]
fn suffix_families() {
    for (text, format) in [
        ("1", Format::DecimalSi),
        ("1k", Format::DecimalSi),
        ("1e3", Format::DecimalExponent),
        ("1Ki", Format::BinarySi),
        ("0Mi", Format::BinarySi),
        ("0.000000000001Ki", Format::DecimalSi),
        ("0.0001Ki", Format::DecimalSi),
    ] {
        assert_eq!(quantity(text).format(), format, "{text}");
    }
}

#[test]
fn refused_texts() {
    for text in
        ["", " ", " 1", "1 ", "1.1.M", "1+1.0M", "0.1am", "aoeu", "-", "+", "Ki", "--1", "1Ki5k", "1é", "0x1", "1_0"]
    {
        assert_eq!(refusal(text), FORMAT, "{text}");
    }
    for text in ["0.1mi", ".5i", "1i", "-3.01i", "-3.01e-", "1K", "1ki", "1e", "1EE", "1Ei5", "1e99999999999999999999"]
    {
        assert_eq!(refusal(text), SUFFIX, "{text}");
    }
}

#[test]
fn sizes_are_bounded() {
    assert_eq!(refusal("1e30"), "quantity \"1e30\" is too large");
    assert!(matches!("1e1000000".parse::<Quantity>(), Err(QuantityError::TooLarge { .. })));
    assert!(matches!("9".repeat(1024).parse::<Quantity>(), Err(QuantityError::TooLarge { .. })));
    assert!(matches!("9".repeat(1025).parse::<Quantity>(), Err(QuantityError::TooLong { length: 1025 })));
}

#[test]
fn texts_that_go_keeps_are_kept() {
    for text in ["1", "+1", "01", "1.500", "100m", "1500m", "1Gi", "1001Ki", "1E-3", "300e6"] {
        assert_eq!(quantity(text).to_string(), text);
    }
    for (text, canonical) in [("1.5", "1500m"), ("1000", "1k"), ("1024Mi", "1Gi"), ("0.001e0", "1e-3"), ("8Ki", "8Ki")]
    {
        assert_eq!(quantity(text).to_string(), canonical);
    }
}

#[test]
fn comparison_is_by_amount() {
    assert_eq!(quantity("1000m"), quantity("1"));
    assert_eq!(quantity("1Ki"), quantity("1.024k"));
    assert!(quantity("10000T") > quantity("100Gi"));
    assert!(quantity("50m") < quantity("100m"));
    assert!(quantity("-1") < quantity("0"));
    assert_eq!(Quantity::new(1, Format::DecimalSi), Quantity::new(1, Format::BinarySi));
    assert!(quantity("0Ki").is_zero());
}
