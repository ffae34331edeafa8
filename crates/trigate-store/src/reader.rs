//! How is something read? By a few connections beside the writer, each taking the next waiting question.

use crate::{
    dialect::{BoxFuture, Row, Sql, Value},
    writer::Connector,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Mutex, mpsc, oneshot};
use trigate_core::port::StoreError;

/// Questions that may wait; beyond it callers hear `Unavailable` at once.
const QUEUE: usize = 16_384;
/// Seconds that one question may take, reconnecting included.
const DEADLINE_S: u64 = 10;

pub trait Question: Send {
    fn ask<'a>(&'a mut self, sql: &'a mut dyn Sql) -> BoxFuture<'a, ()>;
    fn refuse(self: Box<Self>, error: StoreError);
}

struct Ticket<T, W> {
    /// All statements see one state of all tables.
    consistent: bool,
    work: Option<W>,
    reply: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<T, W> Question for Ticket<T, W>
where
    T: Send,
    W: for<'a> FnOnce(&'a mut dyn Sql) -> BoxFuture<'a, Result<T, StoreError>> + Send,
{
    fn ask<'a>(&'a mut self, sql: &'a mut dyn Sql) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Some(work) = self.work.take() else { return };
            let outcome = if self.consistent { in_one_view(sql, work).await } else { work(sql).await };
            if let Some(reply) = self.reply.take() {
                let _ = reply.send(outcome);
            }
        })
    }

    fn refuse(self: Box<Self>, error: StoreError) {
        if let Some(reply) = self.reply {
            let _ = reply.send(Err(error));
        }
    }
}

async fn in_one_view<T, W>(sql: &mut dyn Sql, work: W) -> Result<T, StoreError>
where
    W: for<'a> FnOnce(&'a mut dyn Sql) -> BoxFuture<'a, Result<T, StoreError>>,
{
    sql.begin_read().await?;
    let outcome = work(sql).await;
    sql.rollback().await?;
    outcome
}

/// The door to the readers.
#[derive(Clone)]
pub struct Reader(mpsc::Sender<Box<dyn Question>>);

pub type Questions = Arc<Mutex<mpsc::Receiver<Box<dyn Question>>>>;

impl Reader {
    pub fn new() -> (Self, Questions) {
        let (sender, questions) = mpsc::channel(QUEUE);
        (Self(sender), Arc::new(Mutex::new(questions)))
    }

    /// One statement.
    pub async fn rows(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.ask(false, move |reader| reader.query(sql, values)).await
    }

    /// Several statements, all of one view when `consistent`.
    pub async fn ask<T, W>(&self, consistent: bool, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a mut dyn Sql) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let ticket = Ticket { consistent, work: Some(work), reply: Some(reply) };
        self.0
            .try_send(Box::new(ticket))
            .map_err(|_| StoreError::Unavailable("too many reads are waiting".to_owned()))?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the reader has stopped".to_owned())))
    }
}

/// One reader's life. Ends when every door to it is gone.
pub async fn serve(mut connector: Box<dyn Connector>, questions: Questions) {
    let mut connection: Option<Box<dyn Sql>> = None;
    loop {
        let Some(mut question) = questions.lock().await.recv().await else { return };
        let answered = answer(&mut connection, connector.as_mut(), question.as_mut());
        let failure = match tokio::time::timeout(Duration::from_secs(DEADLINE_S), answered).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error,
            Err(_) => StoreError::Unavailable("the database did not answer in time".to_owned()),
        };
        connection = None;
        question.refuse(failure);
    }
}

async fn answer(
    connection: &mut Option<Box<dyn Sql>>,
    connector: &mut dyn Connector,
    question: &mut dyn Question,
) -> Result<(), StoreError> {
    let sql = match connection {
        Some(sql) if sql.alive() => sql,
        _ => connection.insert(connector.connect().await?),
    };
    question.ask(sql.as_mut()).await;
    Ok(())
}
