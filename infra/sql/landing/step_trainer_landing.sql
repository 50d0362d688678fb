CREATE EXTERNAL TABLE IF NOT EXISTS `step_trainer_landing` (
  `sensorreadingtime` bigint COMMENT 'Time of the reading, epoch milliseconds',
  `serialnumber` string COMMENT 'Serial number of the Step Trainer, compared exactly',
  `distancefromobject` int COMMENT 'Distance of the object in front of the sensor, as delivered'
)
COMMENT 'Step Trainer readings as delivered. The JSON SerDe reads one object per line only: see `stedi catalog` for objects it cannot read as they are.'
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('case.insensitive' = 'true', 'ignore.malformed.json' = 'true')
STORED AS TEXTFILE
LOCATION 's3://${bucket}/landing/step_trainer/';
