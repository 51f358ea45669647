"""One short program against a DynamoDB at a URL: what it answers, as lines that two servers can be compared by."""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

URL = sys.argv[1]
ARGUMENTS = {
    "endpoint_url": URL,
    "region_name": "us-east-1",
    "aws_access_key_id": "AKIDEXAMPLE",
    "aws_secret_access_key": "secret",
    "config": Config(retries={"max_attempts": 0}),
}
TABLES = boto3.client("dynamodb", **ARGUMENTS)
STREAMS = boto3.client("dynamodbstreams", **ARGUMENTS)


def plain(value):
    """A value in a form that JSON can show and that does not depend on the order of a set."""
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        inner = [plain(one) for one in value]
        return sorted(inner, key=json.dumps) if all(isinstance(one, str) for one in inner) else inner
    return value


def say(what, answer):
    print(json.dumps([what, plain(answer)], default=str))


def ask(what, operation, members, **arguments):
    """Calls an operation; says the members of its answer that are asked for, or the kind of its error."""
    try:
        answer = operation(**arguments)
    except ClientError as error:
        said = error.response
        say(what, [said["Error"]["Code"], said["ResponseMetadata"]["HTTPStatusCode"]])
        return None
    say(what, {name: answer[name] for name in members if name in answer})
    return answer


def items():
    """Writes and reads of items."""
    full = {
        "id": {"S": "a"},
        "n": {"N": "3"},
        "text": {"S": "é"},
        "empty": {"S": ""},
        "bytes": {"B": b"\x00\xff"},
        "truth": {"BOOL": True},
        "nothing": {"NULL": True},
        "names": {"SS": ["b", "a"]},
        "blobs": {"BS": [b"1", b"2"]},
        "list": {"L": [{"N": "1"}, {"M": {"x": {"L": []}}}]},
    }
    ask("put", TABLES.put_item, ["Attributes"], TableName="shop", Item=full)
    ask("old", TABLES.put_item, ["Attributes"], TableName="shop", Item=full, ReturnValues="ALL_OLD")
    ask("get", TABLES.get_item, ["Item"], TableName="shop", Key={"id": {"S": "a"}, "n": {"N": "3"}})
    ask("get nothing", TABLES.get_item, ["Item"], TableName="shop", Key={"id": {"S": "b"}, "n": {"N": "3"}})
    ask("half a key", TABLES.get_item, ["Item"], TableName="shop", Key={"id": {"S": "a"}})
    ask("no key", TABLES.put_item, [], TableName="shop", Item={"id": {"S": "a"}})
    ask("wrong type", TABLES.put_item, [], TableName="shop", Item={"id": {"S": "a"}, "n": {"S": "3"}})
    ask("empty key", TABLES.put_item, [], TableName="shop", Item={"id": {"S": ""}, "n": {"N": "3"}})
    ask("empty set", TABLES.put_item, [], TableName="shop", Item={"id": {"S": "a"}, "n": {"N": "1"}, "s": {"SS": []}})
    large = {"id": {"S": "a"}, "n": {"N": "1"}, "x": {"S": "x" * 410_000}}
    ask("large", TABLES.put_item, [], TableName="shop", Item=large)
    ask("no table", TABLES.put_item, [], TableName="none", Item=full)
    update = {
        "TableName": "shop",
        "Key": {"id": {"S": "u"}, "n": {"N": "1"}},
        "UpdateExpression": "SET #x = :x, y = if_not_exists(y, :x) REMOVE z",
        "ExpressionAttributeNames": {"#x": "x"},
        "ExpressionAttributeValues": {":x": {"S": "1"}},
    }
    ask("update", TABLES.update_item, ["Attributes"], ReturnValues="ALL_NEW", **update)
    condition = {"TableName": "shop", "Item": full, "ConditionExpression": "attribute_not_exists(id)"}
    ask("condition", TABLES.put_item, [], **condition)
    puts = [{"PutRequest": {"Item": {"id": {"S": "batch"}, "n": {"N": str(n)}}}} for n in range(-5, 15)]
    ask("batch", TABLES.batch_write_item, ["UnprocessedItems"], RequestItems={"shop": puts})
    ask("twice", TABLES.batch_write_item, [], RequestItems={"shop": puts[:1] * 2})
    delete = {"TableName": "shop", "Key": {"id": {"S": "batch"}, "n": {"N": "14"}}}
    ask("delete", TABLES.delete_item, ["Attributes"], ReturnValues="ALL_OLD", **delete)
    ask("delete again", TABLES.delete_item, ["Attributes"], ReturnValues="ALL_OLD", **delete)
    transact = [
        {"Put": {"TableName": "shop", "Item": {"id": {"S": "tx"}, "n": {"N": "1"}}}},
        {"Delete": {"TableName": "shop", "Key": {"id": {"S": "batch"}, "n": {"N": "13"}}}},
    ]
    ask("transaction", TABLES.transact_write_items, [], TransactItems=transact)
    failing = [{"Put": {**condition}}, transact[0]]
    ask("cancelled", TABLES.transact_write_items, [], TransactItems=failing)


def reads():
    """Queries and scans, page by page."""
    query = {
        "TableName": "shop",
        "KeyConditionExpression": "id = :id AND n BETWEEN :low AND :high",
        "ExpressionAttributeValues": {":id": {"S": "batch"}, ":low": {"N": "-2"}, ":high": {"N": "10"}},
    }
    ask("query", TABLES.query, ["Items", "Count", "LastEvaluatedKey"], **query)
    ask("backwards", TABLES.query, ["Items", "LastEvaluatedKey"], ScanIndexForward=False, Limit=3, **query)
    ask("no hash", TABLES.query, [], TableName="shop", KeyConditionExpression="n = :n",
        ExpressionAttributeValues={":n": {"N": "1"}})
    found, after = [], {}
    while True:
        page = TABLES.scan(TableName="shop", Limit=4, **after)
        found.extend(page["Items"])
        if "LastEvaluatedKey" not in page:
            break
        after = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    say("scan", sorted((plain(item) for item in found), key=json.dumps))
    ask("segment", TABLES.scan, [], TableName="shop", Segment=3, TotalSegments=2)


def records():
    """The stream from its beginning."""
    arn = TABLES.describe_table(TableName="shop")["Table"]["LatestStreamArn"]
    say("streams", [one["TableName"] for one in STREAMS.list_streams(TableName="shop")["Streams"]])
    described = STREAMS.describe_stream(StreamArn=arn)["StreamDescription"]
    say("stream", {name: described[name] for name in ["StreamStatus", "StreamViewType", "TableName", "KeySchema"]})
    found = []
    for shard in described["Shards"]:
        start = {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = STREAMS.get_shard_iterator(**start)["ShardIterator"]
        page = STREAMS.get_records(ShardIterator=iterator, Limit=1000)
        found.extend(page["Records"])
        after = page["NextShardIterator"]
        say("drained", STREAMS.get_records(ShardIterator=after)["Records"])
    shown = []
    for record in found:
        change = record["dynamodb"]
        images = {name: change[name] for name in ["Keys", "OldImage", "NewImage"] if name in change}
        # A write that changes nothing is no record for AWS; moto makes one of it.
        if record["eventName"] != "MODIFY" or images["OldImage"] != images["NewImage"]:
            shown.append([record["eventName"], record["eventSource"], plain(images)])
    by_key = {}
    for one in shown:
        changes = by_key.setdefault(json.dumps(one[2]["Keys"]), [])
        # An update that makes an item is one insert for AWS and two for moto: the second is whole.
        if changes and changes[-1][0] == one[0] == "INSERT":
            changes.pop()
        changes.append(one)
    for changes in by_key.values():
        say("records", changes)


def settings():
    """What tables are set to."""
    backups = {"TableName": "shop", "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}}
    TABLES.update_continuous_backups(**backups)
    shown = TABLES.describe_continuous_backups(TableName="shop")["ContinuousBackupsDescription"]
    recovery = shown["PointInTimeRecoveryDescription"]
    say("recovery", [shown["ContinuousBackupsStatus"], recovery["PointInTimeRecoveryStatus"]])
    expiry = {"Enabled": True, "AttributeName": "until"}
    ask("expiry", TABLES.update_time_to_live, ["TimeToLiveSpecification"], TableName="shop",
        TimeToLiveSpecification=expiry)
    ask("expires", TABLES.describe_time_to_live, ["TimeToLiveDescription"], TableName="shop")
    ask("tables", TABLES.list_tables, ["TableNames"])
    ask("exists", TABLES.create_table, [], **TABLE)
    described = TABLES.describe_table(TableName="shop")["Table"]
    members = ["TableName", "TableStatus", "KeySchema", "AttributeDefinitions", "TableArn", "ItemCount",
               "StreamSpecification"]
    say("table", {name: described[name] for name in members})
    ask("deleted", TABLES.delete_table, [], TableName="shop")
    ask("gone", TABLES.describe_table, [], TableName="shop")


TABLE = {
    "TableName": "shop",
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "n", "KeyType": "RANGE"}],
    "AttributeDefinitions": [
        {"AttributeName": "id", "AttributeType": "S"},
        {"AttributeName": "n", "AttributeType": "N"},
    ],
    "BillingMode": "PAY_PER_REQUEST",
    "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
}
TABLES.create_table(**TABLE)
items()
reads()
records()
settings()
