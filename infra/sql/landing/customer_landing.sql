CREATE EXTERNAL TABLE IF NOT EXISTS `customer_landing` (
  `customername` string COMMENT 'Full name',
  `email` string COMMENT 'E-mail address; a person is lower(trim(email))',
  `phone` string COMMENT 'Telephone number as delivered',
  `birthday` string COMMENT 'Day of birth as delivered, YYYY-MM-DD, not always padded',
  `serialnumber` string COMMENT 'Serial number of the person''s Step Trainer',
  `registrationdate` bigint COMMENT 'Time of the registration, epoch milliseconds',
  `lastupdatedate` bigint COMMENT 'Time of the record''s last change, epoch milliseconds',
  `sharewithresearchasofdate` bigint COMMENT 'Since when the person shares their data for research, epoch milliseconds; null: they do not',
  `sharewithpublicasofdate` bigint COMMENT 'Since when the person shares their data with the public, epoch milliseconds; null: they do not',
  `sharewithfriendsasofdate` bigint COMMENT 'Since when the person shares their data with friends, epoch milliseconds; null: they do not'
)
COMMENT 'Customer records as delivered. The JSON SerDe reads one object per line only: see `stedi catalog` for objects it cannot read as they are.'
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('case.insensitive' = 'true', 'ignore.malformed.json' = 'true')
STORED AS TEXTFILE
LOCATION 's3://${bucket}/landing/customer/';
