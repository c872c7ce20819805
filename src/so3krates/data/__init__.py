"""Reference data: samples, readers, the doctor, splits, statistics, batches."""
