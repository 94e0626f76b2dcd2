//! As Prometheus reads it.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType, Quantile, Summary};
use prometheus::{Encoder, TextEncoder};

use super::{Distribution, QUANTILES, Sample, Value};

/// The media type of [`text`].
pub const MEDIA_TYPE: &str = prometheus::TEXT_FORMAT;

/// All samples but those in words. Samples of one name must follow each other.
pub fn text(samples: &[Sample]) -> String {
    let mut families: Vec<MetricFamily> = Vec::new();
    for sample in samples {
        let Some((kind, metric)) = metric(sample) else { continue };
        if let Some(family) = families.last_mut().filter(|family| family.name() == sample.name) {
            family.mut_metric().push(metric);
            continue;
        }
        let mut family = MetricFamily::default();
        family.set_name(sample.name.to_string());
        family.set_help(sample.help.to_owned());
        family.set_field_type(kind);
        family.mut_metric().push(metric);
        families.push(family);
    }
    let mut text = Vec::new();
    // Fails for a family without a name or metrics, of which there is none here, or when writing fails.
    let _ = TextEncoder::new().encode(&families, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

fn metric(sample: &Sample) -> Option<(MetricType, Metric)> {
    let mut metric = Metric::default();
    if let Some((name, value)) = &sample.label {
        let mut label = LabelPair::default();
        label.set_name((*name).to_owned());
        label.set_value(value.clone());
        metric.set_label(vec![label]);
    }
    let kind = match &sample.value {
        Value::Counter(value) => counter(&mut metric, *value as f64),
        Value::Total(value) => counter(&mut metric, *value),
        Value::Gauge(value) => gauge(&mut metric, *value as f64),
        Value::Ratio(value) => gauge(&mut metric, *value),
        Value::Distribution(distribution) => {
            metric.set_summary(summary(distribution));
            MetricType::SUMMARY
        }
        Value::Text(_) => return None,
    };
    Some((kind, metric))
}

fn counter(metric: &mut Metric, value: f64) -> MetricType {
    let mut counter = Counter::default();
    counter.set_value(value);
    metric.set_counter(counter);
    MetricType::COUNTER
}

fn gauge(metric: &mut Metric, value: f64) -> MetricType {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    MetricType::GAUGE
}

fn summary(distribution: &Distribution) -> Summary {
    let mut summary = Summary::default();
    summary.set_sample_count(distribution.count);
    summary.set_sample_sum(distribution.sum);
    let values = QUANTILES.into_iter().zip(distribution.quantiles.into_iter().flatten());
    let quantiles = values.map(|(at, value)| {
        let mut quantile = Quantile::default();
        quantile.set_quantile(at);
        quantile.set_value(value);
        quantile
    });
    summary.set_quantile(quantiles.collect());
    summary
}
