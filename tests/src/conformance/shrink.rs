//! Fewer steps that still show something.

/// Leaves out steps for as long as `shows` holds for the rest, with at most `attempts` tries.
pub(super) fn shrink<T: Clone>(
    mut steps: Vec<T>,
    mut attempts: usize,
    mut shows: impl FnMut(&[T]) -> bool,
) -> Vec<T> {
    let mut size = steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        let before = steps.len();
        while at < steps.len() && attempts > 0 {
            let end = (at + size).min(steps.len());
            let fewer = [&steps[..at], &steps[end..]].concat();
            attempts -= 1;
            if shows(&fewer) {
                steps = fewer;
            } else {
                at = end;
            }
        }
        if size > 1 || steps.len() == before || attempts == 0 {
            size /= 2;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_stays() {
        let needed = |steps: &[u32]| steps.contains(&3) && steps.contains(&77);
        assert_eq!(shrink((0..100).collect(), 1000, needed), [3, 77]);
        assert!(needed(&shrink((0..100).collect(), 5, needed)));
        assert_eq!(shrink(vec![1], 1000, |_| false), [1]);
    }
}
