#!/usr/bin/env python3
"""Writes one small table as the Parquet files that pandas, Arrow, polars and DuckDB write.

Needs pandas, pyarrow, polars and duckdb; run in this folder. The files are committed: tests read
them and do not run this script.
"""
import datetime
import decimal

import duckdb
import pandas
import polars
import pyarrow
import pyarrow.parquet

ROWS = 12
columns = {
    "time": pyarrow.array([0.5 * (row + 1) for row in range(ROWS)], pyarrow.float64()),
    "event": pyarrow.array([row % 3 != 0 for row in range(ROWS)], pyarrow.bool_()),
    "arm": pyarrow.array(["a", "b", None] * 4, pyarrow.string()),
    "age": pyarrow.array([None if row == 4 else 30 + row for row in range(ROWS)], pyarrow.int32()),
    "small": pyarrow.array([row * 21 for row in range(ROWS)], pyarrow.uint8()),
    "id": pyarrow.array([2**63 + row for row in range(ROWS)], pyarrow.uint64()),
    "dose": pyarrow.array(
        [decimal.Decimal(row - 3) / 8 for row in range(ROWS)], pyarrow.decimal128(9, 3)
    ),
    "half": pyarrow.array([row / 4 for row in range(ROWS)], pyarrow.float32()),
}
table = pyarrow.table(columns)
arrow_only = table.append_column(
    "at", pyarrow.array([datetime.datetime(2020, 1, 1 + row) for row in range(ROWS)])
).append_column("list", pyarrow.array([[row] for row in range(ROWS)]))

write = pyarrow.parquet.write_table
write(arrow_only, "arrow_gzip.parquet", compression="gzip", row_group_size=5)
write(arrow_only, "arrow_lz4.parquet", compression="lz4", data_page_version="2.0")
write(table, "arrow_brotli.parquet", compression="brotli")
frame = table.to_pandas(types_mapper={pyarrow.int32(): pandas.Int32Dtype()}.get)
frame["arm"] = frame["arm"].astype("category")
frame.index = frame.index + 100
frame.to_parquet("pandas.parquet")
polars.from_arrow(table).write_parquet("polars.parquet")
duckdb.from_arrow(table).write_parquet("duckdb.parquet")
