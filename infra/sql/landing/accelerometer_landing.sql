CREATE EXTERNAL TABLE IF NOT EXISTS `accelerometer_landing` (
  `user` string COMMENT 'E-mail address of the person who carried the phone',
  `timestamp` bigint COMMENT 'Time of the reading, epoch milliseconds',
  `x` double COMMENT 'Motion along the x axis, as delivered',
  `y` double COMMENT 'Motion along the y axis, as delivered',
  `z` double COMMENT 'Motion along the z axis, as delivered'
)
COMMENT 'Accelerometer readings as delivered. The JSON SerDe reads one object per line only: see `stedi catalog` for objects it cannot read as they are.'
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('case.insensitive' = 'true', 'ignore.malformed.json' = 'true')
STORED AS TEXTFILE
LOCATION 's3://${bucket}/landing/accelerometer/';
